"""Batch normalisation trained by two processes equals that of one process with both images."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from cascade_rcnn.layers.normalization import BatchNorm2d, RoIBatchNorm2d


def norm_and_maps(kind: type[BatchNorm2d]) -> tuple[BatchNorm2d, Tensor]:
    """Return a layer with weights, and four maps that differ."""
    torch.manual_seed(0)
    norm = kind(3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm.train(), torch.randn(4, 3, 5, 6) * torch.arange(1.0, 5)[:, None, None, None] + 7


PRESENT = torch.tensor([True, False, True, True])
SHARES = (slice(0, 1), slice(1, 4))  # each process's share: batches may differ in size


def step(norm: BatchNorm2d, maps: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return the normalised maps, and the input's gradient for a loss that is a sum over the maps."""
    maps = maps.clone().requires_grad_()
    found = norm(maps, present) if isinstance(norm, RoIBatchNorm2d) else norm(maps)
    (found.square() * maps.detach().cos()).sum().backward()
    assert maps.grad is not None
    return found.detach(), maps.grad


def process(rank: int, kind: type[BatchNorm2d], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    norm, maps = norm_and_maps(kind)
    found, gradient = step(norm, maps[SHARES[rank]], PRESENT[SHARES[rank]])
    parameters = {name: parameter.grad for name, parameter in norm.named_parameters()}
    torch.save([found, gradient, norm.state_dict(), parameters], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [BatchNorm2d, RoIBatchNorm2d])
def test_two_processes_find_what_one_finds(kind, tmp_path: Path):
    spawn(process, args=(kind, str(tmp_path)), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    norm, maps = norm_and_maps(kind)
    found, gradient = step(norm, maps, PRESENT)
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), found)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), gradient, rtol=1e-4, atol=1e-4)
    for part in parts:
        torch.testing.assert_close(part[2], dict(norm.state_dict()))
    for name, parameter in norm.named_parameters():
        torch.testing.assert_close(parts[0][3][name] + parts[1][3][name], parameter.grad, rtol=1e-4, atol=1e-4)
