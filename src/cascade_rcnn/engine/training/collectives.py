"""Communication between training processes."""

from typing import TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric

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
    signal = torch.tensor([float(flag)], device=fabric.device)
    dist.all_reduce(signal, op=dist.ReduceOp.MAX)
    return bool(signal.item())
