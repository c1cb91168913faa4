"""ViTDet's simple feature pyramid (Li et al. 2022), which computes every level from one map."""

import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import SimplePyramidConfig
from cascade_rcnn.layers.convolution import Conv2d
from cascade_rcnn.layers.normalization import make_norm


class SimplePyramid(nn.Module):
    """Computes maps from a quarter to twice the stride of the given one, plus coarser levels for the RPN.

    Each level upsamples or downsamples the map, followed by a 1x1 and a 3x3 convolution. `channels` and `strides`
    describe all levels; RoIs are pooled from the first `pooled`.
    """

    pooled = 4

    def __init__(self, channels: int, stride: int, config: SimplePyramidConfig, levels: int) -> None:
        """`channels` and `stride` are the given map's; `levels` is the number of output maps, at least 4."""
        super().__init__()
        levels = max(levels, self.pooled)
        self.strides = tuple(stride // 4 * 2**k for k in range(levels))
        self.channels = (config.channels,) * levels
        half, quarter = channels // 2, channels // 4
        self.scale = nn.ModuleList(
            [
                nn.Sequential(_double(channels, half), _norm(config, half), nn.GELU(), _double(half, quarter)),
                nn.Sequential(_double(channels, half)),
                nn.Sequential(),
                nn.Sequential(nn.MaxPool2d(2)),
            ]
        )
        width, bias = config.channels, config.norm is None
        self.lateral = nn.ModuleList(Conv2d(c, width, 1, bias=bias) for c in (quarter, half, channels, channels))
        self.output = nn.ModuleList(Conv2d(width, width, 3, padding=1, bias=bias) for _ in range(self.pooled))
        self.lateral_norm, self.output_norm = (
            nn.ModuleList(_norm(config, width) for _ in range(self.pooled)) for _ in range(2)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Map [(B, C, H, W)] to [P2..P5] (and P6)."""
        pyramid = []
        parts = (self.scale, self.lateral, self.lateral_norm, self.output, self.output_norm)
        for scale, lateral, lateral_norm, output, output_norm in zip(*parts, strict=True):
            pyramid.append(output_norm(output(lateral_norm(lateral(scale(maps[-1]))))))
        while len(pyramid) < len(self.strides):
            pyramid.append(F.max_pool2d(pyramid[-1], 1, 2))
        return pyramid


def _double(channels: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(channels, outputs, 2, 2)


def _norm(config: SimplePyramidConfig, channels: int) -> nn.Module:
    return nn.Identity() if config.norm is None else make_norm(config.norm, channels)
