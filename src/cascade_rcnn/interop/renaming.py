"""Rename the tensors of a state dict and change their layout."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from torch import Tensor

from cascade_rcnn.config import ModelConfig

State: TypeAlias = dict[str, Tensor]
# (our module, their module), or (our tensor, their tensor); {} is a number, the same in both
Names: TypeAlias = Sequence[tuple[str, str]]
Change: TypeAlias = Callable[[Tensor, ModelConfig], Tensor]
Layout: TypeAlias = Mapping[str, Change]  # pattern of our names -> change to those tensors


def rename(name: str, rows: Iterable[tuple[str, str]]) -> str | None:
    """Rename a tensor that is in the first column, or whose module is, by the second column; None if it is not."""
    module, _, leaf = name.rpartition(".")
    for source, target in rows:
        pattern = re.escape(source).replace(r"\{\}", r"(\d+)")
        if match := re.fullmatch(pattern, module):
            return f"{target.format(*match.groups())}.{leaf}"
        if match := re.fullmatch(pattern, name):
            return target.format(*match.groups())
    return None


def relaid(state: State, config: ModelConfig, layout: Layout) -> State:
    """Return the tensors, under our names, with these changes of layout."""
    changed = {}
    for name, tensor in state.items():
        change = next((f for pattern, f in layout.items() if re.fullmatch(pattern, name)), None)
        changed[name] = change(tensor, config).contiguous() if change else tensor
    return changed


def number_of(state: State, pattern: str, first: int = 0) -> int:
    """Count the names pattern.format(first), pattern.format(first + 1), ... that exist."""
    number = 0
    while pattern.format(first + number) in state:
        number += 1
    return number
