"""Tensors of a state dict under other names and in another layout."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from torch import Tensor

from cascade_rcnn.config import ModelConfig

State: TypeAlias = dict[str, Tensor]
Names: TypeAlias = Sequence[tuple[str, str]]  # (our module, the peer's module); {} is a number, the same in both
Change: TypeAlias = Callable[[Tensor, ModelConfig], Tensor]
Layout: TypeAlias = Mapping[str, Change]  # pattern of our names -> what is done to those tensors


def rename(name: str, rows: Iterable[tuple[str, str]]) -> str | None:
    """Return the name in the second column of a tensor whose module stands in the first; None where it does not."""
    module, _, leaf = name.rpartition(".")
    for source, target in rows:
        match = re.fullmatch(re.escape(source).replace(r"\{\}", r"(\d+)"), module)
        if match:
            return f"{target.format(*match.groups())}.{leaf}"
    return None


def relaid(state: State, config: ModelConfig, layout: Layout) -> State:
    """Return the tensors (under our names) in the layout of the other side."""
    changed = {}
    for name, tensor in state.items():
        change = next((f for pattern, f in layout.items() if re.fullmatch(pattern, name)), None)
        changed[name] = change(tensor, config).contiguous() if change else tensor
    return changed


def number_of(state: State, pattern: str, first: int = 0) -> int:
    """Count the names pattern.format(first), pattern.format(first + 1), ... that are there."""
    number = 0
    while pattern.format(first + number) in state:
        number += 1
    return number
