"""Change fields of recipes and their nested configs by name."""

from collections.abc import Collection, Mapping
from dataclasses import is_dataclass, replace
from typing import Any, TypeVar, get_type_hints

from cascade_rcnn.arguments import converted
from cascade_rcnn.config.augmentation_lists import Augmentations, parse
from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn.recipes.config import DataConfig

C = TypeVar("C")


def with_changes(config: C, changes: Mapping[str, Any], prefix: str = "") -> C:
    """Return a copy of a config with changes; a mapping changes fields of a nested config.

    Raises UserError for unknown fields and values of the wrong type.

    >>> with_changes(find_recipe("small"), {"epochs": 3, "optimizer": {"lr": 1e-3}}).optimizer.lr
    0.001
    """
    types = get_type_hints(type(config))
    values = {name: getattr(config, name) for name in types}
    for name, value in changes.items():
        if name not in types:
            what = f"{prefix}{name}"
            raise UserError(f"there is no setting '{what}'{nearest(name, list(types))}; known: {', '.join(types)}")
        part = values[name]
        if isinstance(value, Mapping) and is_dataclass(part):
            values[name] = with_changes(part, value, f"{prefix}{name}.")
        else:
            values[name] = _converted(value, types[name], f"{prefix}{name}")
    return type(config)(**values)


def for_new_paths(data: DataConfig, names: Collection[str]) -> DataConfig:
    """Drop what belonged to the earlier paths of "train" or "val": the folder of their images, and their split.

    >>> for_new_paths(DataConfig(train="data", train_split="train", val="data", val_split="val"), {"val"}).train_split
    'train'
    """
    parts = [part for part in ("train", "val") if part in names]
    return replace(data, **{f"{part}_{what}": None for part in parts for what in ("images", "split")})


def _converted(value: Any, kind: Any, name: str) -> Any:
    if kind == Augmentations:
        return parse(value)
    return value if type(value) is kind else converted(name, value, kind)
