"""Read mmdetection's config files and their bases (`_base_`, `with read_base()`) without running them."""

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.python_config import described, parse, read_statements
from cascade_rcnn.interop.python_values import Budget, Foreign, Tree, merge, tree

Stock: TypeAlias = Callable[[str], dict[str, Any] | None]  # the settings of a published detector, by its config's name
_FLAT = "give the flat config that mmdet writes into its work_dir"
_DEEPEST = 20  # maximum length of a chain of files; published ones have up to 7
_A_FILE = 500  # cost of a file in the budget


def nothing(name: str) -> dict[str, Any] | None:
    """Return None: there are no published detectors to look up."""
    del name


def read(path: Path, stock: Stock = nothing) -> tuple[dict[str, Any], list[str]]:
    """Read the settings of a config file by name; return notes on where they come from.

    Bases are read from files or, if missing, taken from the published detectors. Raises UserError, in one line, for
    settings that cannot be evaluated without running code.
    """
    files = _Files(stock)
    return described(files.read(path, ()), _last), files.notes


def read_text(text: str, where: str) -> dict[str, Any]:
    """Parse the text of a config without bases; `where` names it in errors."""
    try:
        statements = parse(text)
        if _bases(statements):
            raise ValueError(f"builds on {', '.join(_bases(statements))}")
        return described(_Files(nothing).take(statements, {}, Path(where), ()), _last)
    except ValueError as error:
        raise UserError(f"{where}: {error}; {_FLAT}") from None


@dataclass
class _Files:
    stock: Stock
    budget: Budget = field(default_factory=Budget)
    notes: list[str] = field(default_factory=list)

    def read(self, path: Path, chain: tuple[Path, ...]) -> Tree:
        """Read a file and its bases; `chain` holds the files that build on it."""
        path = path.resolve() if chain else path
        if path in (file.resolve() for file in chain) or len(chain) > _DEEPEST:
            raise UserError(f"{chain[0]}: builds on itself via {path.name}; {_FLAT}")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not readable ({error}); {_FLAT}") from None
        try:
            self.budget.spend(_A_FILE)
            statements = parse(text)
            base = Tree()
            for name in _bases(statements):
                more = self.base(path, name, chain)
                twice = sorted(base.keys() & more.keys())
                if twice:
                    raise ValueError(f"builds on two files that both define '{twice[0]}'")
                base |= more
            return merge(self.take(statements, {"_base_": base}, path, chain), base)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{path}: {error}; {_FLAT}") from None

    def take(self, statements: list[ast.stmt], names: dict[str, Any], path: Path, chain: tuple[Path, ...]) -> Tree:
        """Read the settings that a file's own statements define."""

        def bring(statement: ast.ImportFrom) -> dict[str, Any]:
            module = (statement.module or "").replace(".", "/")
            above = "../" * (statement.level - 1)
            return self.base(path, f"{above}{module}.py" if statement.level else f"{statement.module}.py", chain)

        own = [statement for statement in statements if not _is_base(statement)]
        found = read_statements(own, names, self.budget, call=self.call, bring=bring)
        return Tree({name: x for name, x in found.items() if not isinstance(x, Foreign) or x.call is not None})

    def base(self, path: Path, name: str, chain: tuple[Path, ...]) -> Tree:
        """Read a base: another file or, if that is missing, a published detector's settings."""
        file = path.parent / name
        if file.is_file():
            return self.read(file, (*chain, path))
        known = self.published(PurePosixPath(name))
        if known is None:
            raise UserError(f"{path}: builds on {name}, which does not exist; put it there, or {_FLAT}")
        return tree(known, self.budget)

    def published(self, base: PurePosixPath) -> dict[str, Any] | None:
        """Return the settings of one of mmdetection's own files, if they are known."""
        if base.parent.name == "schedules" or base.stem == "default_runtime":
            return {}
        if base.parent.name == "datasets" and base.stem in ("coco_detection", "coco_instance"):
            return {"dataset_type": "CocoDataset"}
        if base.parent.name == "models":
            whole = self.stock(f"{base.stem}_1x_coco")
            settings = whole and {"model": whole["model"]}
        else:
            settings = self.stock(base.stem)
        if settings:
            self.notes.append(f"{base} does not exist; the settings of the published detector are used")
        return settings

    def call(self, function: Foreign, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Return a copy for a call to `copy.deepcopy` or `copy.copy`, else a foreign object that describes the call."""
        if function.name in ("copy.deepcopy", "copy.copy") and len(args) == 1:
            return tree(args[0], self.budget)
        return Foreign(function.name, {"type": function.name, "args": args, **kwargs})


def _is_base(statement: ast.stmt) -> bool:
    match statement:
        case ast.Assign(targets=[ast.Name(id="_base_")]):
            return True
    return False


def _bases(statements: list[ast.stmt]) -> list[str]:
    """List the names of the files in `_base_`."""
    first = next((s for s in statements if isinstance(s, ast.Assign) and _is_base(s)), None)
    if first is None:
        return []
    values = read_statements([first], {}, Budget(), call=lambda function, args, kwargs: None, bring=lambda _: {})
    names = values["_base_"] if isinstance(values["_base_"], list) else [values["_base_"]]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"line {first.lineno} does not name files to build on")
    return names


def _last(name: str) -> str:
    """Return the name under which a class is registered."""
    return name.rpartition(".")[2]
