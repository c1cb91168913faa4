"""Read detectron2's LazyConfig files, Python with calls like `L(FPN)(out_channels=256)`, without running them."""

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_rcnn.assets import LAZY_CONFIGS
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.python_config import described, parse, read_statements
from cascade_rcnn.interop.python_values import Budget, Foreign, Tree, get, tree

_LAZY_CALL = ("detectron2.config.LazyCall", "detectron2.config.lazy.LazyCall")
_GET_CONFIG = ("detectron2.model_zoo.get_config", "detectron2.model_zoo.model_zoo.get_config")
_CREATE = "omegaconf.OmegaConf.create"
_TRAINING = ("common/train.py", "common/optim.py", "common/coco_schedule.py")  # training settings, which are not used
_DEEPEST = 20  # maximum length of a chain of files or references
_A_FILE = 500  # cost of a file in the budget


def read(path: Path) -> dict[str, Any]:
    """Read the names that a LazyConfig file and its bases define.

    A call becomes a dict of its arguments with the class's dotted name as `_target_`, as in the files that detectron2's
    `LazyConfig.save` writes. Raises UserError, in one line, for anything that cannot be evaluated without running code.
    """
    files = _Files()
    try:
        return resolved(described(files.read(path, ()), str), files.budget)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


@dataclass
class _Files:
    budget: Budget = field(default_factory=Budget)

    def read(self, path: Path, chain: tuple[Path, ...]) -> Tree:
        """Read the settings of a file; `chain` holds the files that build on it."""
        path = path.resolve() if chain else path
        if path in (file.resolve() for file in chain) or len(chain) > _DEEPEST:
            raise UserError(f"{chain[0]}: builds on itself via {path.name}")
        try:
            self.budget.spend(_A_FILE)
            statements = parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not readable ({error}); give the LazyConfig it was trained with") from None

        def bring(statement: ast.ImportFrom) -> dict[str, Any]:
            module = f"{(statement.module or '').replace('.', '/')}.py"
            file = path.resolve().parents[statement.level - 1] / module
            return self.read(file, (*chain, path)) if file.is_file() else self.stock(module, path)

        def call(function: Foreign, args: list[Any], kwargs: dict[str, Any]) -> Any:
            if function.name in _LAZY_CALL and len(args) == 1 and isinstance(args[0], Foreign):
                return Foreign("", {"": args[0]})  # a class, to be called with its arguments
            if function.call is not None and "" in function.call:
                if args:
                    raise ValueError("calls a LazyCall with positional arguments")
                return tree({**kwargs, "_target_": function.call[""]}, self.budget)
            if function.name in _GET_CONFIG and args and isinstance(args[0], str):
                file = _beside(path, args[0])
                return self.read(file, (*chain, path)) if file else self.stock(args[0], path)
            if function.name == _CREATE:
                return tree(args[0] if args else {}, self.budget)
            arguments = {"_args_": args, **kwargs} if args else kwargs
            return Foreign(function.name, {"_target_": function.name, **arguments})

        try:
            return read_statements(statements, {}, self.budget, call=call, bring=bring, relative=True, deep=False)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{path}: {error}; LazyConfigs are parsed here, not run") from None

    def stock(self, name: str, path: Path) -> Any:
        """Return the settings of one of detectron2's own files, if they are known."""
        known = json.loads(LAZY_CONFIGS.read_bytes())
        if name in known:
            return tree(known[name], self.budget)
        if name in _TRAINING:
            return Foreign(name)
        raise UserError(f"{path}: builds on {name}, which does not exist; put it there")


def _beside(path: Path, name: str) -> Path | None:
    """Find one of detectron2's own configs in a parent folder of this file, or in `configs` there."""
    files = (file for folder in path.resolve().parents for file in (folder / name, folder / "configs" / name))
    return next((file for file in files if file.is_file()), None)


def resolved(root: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """Replace references, such as "${..num_classes}", by their targets.

    Raises ValueError if one in `model` or `dataloader` has no target; other names with such references are left out.
    """

    def walk(value: Any, above: tuple[Any, ...], depth: int) -> Any:
        budget.spend(1)
        if isinstance(value, dict):
            return {key: walk(item, (*above, value), depth) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*above, value), depth) for item in value]
        if not (isinstance(value, str) and value.startswith("${")):
            return value
        path = value.removeprefix("${").removesuffix("}")
        dots = len(path) - len(path.lstrip("."))
        if depth > _DEEPEST or dots > len(above):
            raise ValueError(f"'{value}' refers to nothing")
        way = above[: len(above) - dots + 1] if dots else above[:1]
        for key in path[dots:].split("."):
            way = (*way, get(way[-1], int(key) if isinstance(way[-1], list) else key))
        return walk(way[-1], way[:-1], depth + 1)

    found = {}
    for name, value in root.items():
        try:
            found[name] = walk(value, (root,), 0)
        except ValueError:
            if name in ("model", "dataloader"):
                raise
    return found
