"""Bitwise equality of two values, such as training states."""

from collections.abc import Collection
from typing import Any

import torch


def identical(a: Any, b: Any, ignored: Collection[str] = ()) -> bool:
    """Compare tensors, numbers and text in nested dicts, lists and tuples; entries under `ignored` keys may differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(key in ignored or identical(a[key], b[key], ignored) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(identical(x, y, ignored) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else bool(a == b)
