"""Communication between training processes."""

from typing import TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor, nn

T = TypeVar("T")


def gather(fabric: Fabric, mine: T) -> list[T]:
    """Return the values of all ranks, ordered by rank."""
    everyone = [mine] * fabric.world_size
    if fabric.world_size > 1:
        dist.all_gather_object(everyone, mine)
    return everyone


def any_rank(fabric: Fabric, flag: bool) -> bool:
    """Return, on every rank, whether the flag is set on any."""
    if fabric.world_size == 1:
        return flag
    return bool(maximum(fabric, torch.tensor([float(flag)], device=fabric.device)).item())


def maximum(fabric: Fabric, values: Tensor) -> Tensor:
    """Return, on every rank, the elementwise maximum over all ranks, in the same tensor."""
    if fabric.world_size > 1:
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return values


def mean(fabric: Fabric, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return, on every rank, the mean of each value over all ranks, which have the same names."""
    if fabric.world_size == 1:
        return values
    total = torch.stack(list(values.values()))
    dist.all_reduce(total)
    return dict(zip(values, total / fabric.world_size, strict=True))


def share_buffers(fabric: Fabric, model: nn.Module) -> None:
    """Give the model the first rank's buffers, such as batch norm statistics, on every rank."""
    if fabric.world_size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
