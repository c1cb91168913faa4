"""The photo that all candidates process, and synthetic objects on it for training."""

from pathlib import Path

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from matplotlib.cbook import get_sample_data
from torch import Tensor


def photograph(size: tuple[int, int], path: Path | str | None = None) -> Tensor:
    """Read and resize a photo (by default matplotlib's portrait of Grace Hopper): uint8 (3, H, W)."""
    height, width = size
    with PIL.Image.open(path or get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        resized = image.convert("RGB").resize((width, height), PIL.Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def objects(
    size: tuple[int, int], classes: int, number: int = 8, seed: int = 0, *, masks: bool = False
) -> dict[str, Tensor]:
    """Make a target with `number` boxes of 1/16 to 1/2 of the image's sides, optionally with elliptical masks."""
    generator = torch.Generator().manual_seed(seed)
    sides = torch.tensor([size[1], size[0]], dtype=torch.float32)
    extent = sides * 0.5 ** (1 + 3 * torch.rand(number, 2, generator=generator))
    corner = (sides - extent) * torch.rand(number, 2, generator=generator)
    labels = torch.randint(1, classes + 1, (number,), generator=generator)
    target = {"boxes": torch.cat([corner, corner + extent], dim=1), "labels": labels}
    if masks:
        x, y = torch.arange(size[1]) + 0.5, torch.arange(size[0]) + 0.5
        centre, half = (corner + extent / 2)[..., None], extent[..., None] / 2
        x, y = (x - centre[:, 0]) / half[:, 0], (y - centre[:, 1]) / half[:, 1]
        target["masks"] = (x[:, None] ** 2 + y[..., None] ** 2 <= 1).byte()
    return target


def maps(size: tuple[int, int], number: int = 100, bins: int = 28, seed: int = 0) -> dict[str, Tensor]:
    """Make mask probabilities (N, S, S) in the shape of smooth blobs, and the boxes (N, 4) to paste them in."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(number, 1, 7, 7, generator=generator)
    blobs = F.interpolate(coarse, size=(bins, bins), mode="bicubic")[:, 0]
    return {"masks": (3 * blobs).sigmoid(), "boxes": objects(size, 1, number, seed)["boxes"]}
