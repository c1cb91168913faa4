"""A second device for machines without one: its tensors say that they are elsewhere, and are computed on the CPU.

As on a GPU, tensors of both devices cannot be mixed, code for other devices than a CPU runs, and `waits` records where
the host would have waited. Its name is "meta", torch's only device without hardware. torch's kernels for GPUs are not
tested by it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
_READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::bincount", "aten::equal")
_READ_BY_INDEX = ("aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_")


class Elsewhere(Tensor):
    """A tensor of the pretended device; `held` is where its values are."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        geometry = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        return Tensor._make_wrapper_subclass(cls, held.shape, device=DEVICE, **geometry)  # type: ignore[attr-defined]

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute an operator of autograd's backward pass, which runs outside the mode."""
        return _compute(operator, args, kwargs or {}, [])


class _Mode(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(operator, args, kwargs or {}, self.waits)


def _compute(operator: Any, args: Any, kwargs: dict[str, Any], waits: list[str]) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    there, here = ([x for x in tensors if isinstance(x, Elsewhere) == elsewhere] for elsewhere in (True, False))
    name, target = operator._schema.name, kwargs.get("device")
    moves = name in ("aten::_to_copy", "aten::copy_")
    by_index = name in _READ_BY_INDEX
    if there and any(x.dim() for x in here) and not moves and not (by_index and isinstance(args[0], Elsewhere)):
        raise RuntimeError(f"{name}: tensors are on both devices: {[tuple(x.shape) for x in here]} on the CPU")
    result_there = bool(there) if target is None else target.type == DEVICE.type
    crosses = moves and (bool(there and here) or bool(there) != result_there)
    asynchronous = result_there and kwargs.get("non_blocking", False)
    masks = by_index and any(x is not None and x.dtype == torch.bool for x in args[1])
    if (crosses and not asynchronous) or (there and (name in _READS or masks)):
        waits.append(name)
    if target is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = operator(*tree_map(_held, args), **tree_map(_held, kwargs))
    if operator._schema.is_mutable:
        return args[0]
    return tree_map(lambda x: Elsewhere(x) if isinstance(x, Tensor) and result_there else x, found)


def _held(x: Any) -> Any:
    return x.held if isinstance(x, Elsewhere) else x


@contextmanager
def pretended_device() -> Iterator[list[str]]:
    """Make `DEVICE` a device that computes; yields the names of the operators that wait for it, as they are called."""
    mode, make, read, context = _Mode(), torch.tensor, Tensor.tolist, torch.autocast

    def tensor(data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:  # torch makes it without the mode
        return make(data, dtype=dtype).to(device or "cpu")

    def new_tensor(self: Tensor, data: Any, *, dtype: Any = None) -> Tensor:
        return make(data, dtype=dtype or self.dtype).to(self.device)

    def tolist(self: Tensor) -> Any:
        if isinstance(self, Elsewhere):
            mode.waits.append("tolist")
        return read(_held(self).detach())

    def autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return context("cpu" if device_type == DEVICE.type else device_type, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patched, mode:
        patched.setattr(torch, "tensor", tensor)
        patched.setattr(torch, "autocast", autocast)
        patched.setattr(torch, "inference_mode", torch.no_grad)  # whose tensors cannot be wrapped
        patched.setattr(Tensor, "new_tensor", new_tensor)
        patched.setattr(Tensor, "tolist", tolist)
        yield mode.waits
