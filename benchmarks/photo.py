"""The one photograph that all candidates look at, and made-up objects on it to train on."""

from pathlib import Path

import numpy as np
import PIL.Image
import torch
from matplotlib.cbook import get_sample_data
from torch import Tensor


def photograph(size: tuple[int, int], path: Path | str | None = None) -> Tensor:
    """The photograph (matplotlib's portrait of Grace Hopper by default), resized: uint8 (3, H, W)."""
    height, width = size
    with PIL.Image.open(path or get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        resized = image.convert("RGB").resize((width, height), PIL.Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def objects(size: tuple[int, int], classes: int, number: int = 8, seed: int = 0) -> dict[str, Tensor]:
    """A target with `number` boxes of 1/16 to 1/2 of the image's sides."""
    generator = torch.Generator().manual_seed(seed)
    sides = torch.tensor([size[1], size[0]], dtype=torch.float32)
    extent = sides * 0.5 ** (1 + 3 * torch.rand(number, 2, generator=generator))
    corner = (sides - extent) * torch.rand(number, 2, generator=generator)
    labels = torch.randint(1, classes + 1, (number,), generator=generator)
    return {"boxes": torch.cat([corner, corner + extent], dim=1), "labels": labels}
