"""From the backbone's maps to those that the RPN and the heads read: a feature pyramid, or none."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import FPNConfig
from cascade_rcnn.layers.convolution import Conv2d
from cascade_rcnn.layers.normalization import make_norm


class SingleScale(nn.Module):
    """No pyramid: the maps of stride 16 (VGG's conv5_3; C4, which the RPN reads, and dilated C5, which R-FCN does)."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.kept = [k for k, stride in enumerate(strides) if stride == 16]
        self.channels = tuple(channels[k] for k in self.kept)
        self.strides = (16,) * len(self.kept)
        self.pooled = len(self.kept)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The backbone's maps -> those of stride 16."""
        return [maps[k] for k in self.kept]


class FeaturePyramid(nn.Module):
    """C2..C5 -> P2..P5, and coarser ones where the RPN wants them (Lin et al. 2017).

    Lateral 1x1 convolutions, a top-down sum, 3x3 output convolutions; P6 is P5 at half resolution. `channels` and
    `strides` are those of all levels; boxes are pooled from the first `pooled` of them, the backbone's own.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], config: FPNConfig, levels: int) -> None:
        """channels, strides: the backbone's; levels: how many maps to put out."""
        super().__init__()
        self.pooled = len(strides)
        self.strides = (*strides, *(strides[-1] * 2**k for k in range(1, levels - len(strides) + 1)))
        self.channels = (config.channels,) * len(self.strides)
        width, bias = config.channels, config.norm is None
        self.lateral = nn.ModuleList(Conv2d(c, width, 1, bias=bias) for c in channels)
        self.output = nn.ModuleList(Conv2d(width, width, 3, padding=1, bias=bias) for _ in channels)
        self.lateral_norm, self.output_norm = (nn.ModuleList(_norm(config) for _ in channels) for _ in range(2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[C2..C5], each (B, C_l, H_l, W_l) -> [P2, P3, P4, P5] or with P6, each (B, C, H_l, W_l)."""
        merged = [norm(conv(x)) for conv, norm, x in zip(self.lateral, self.lateral_norm, maps, strict=True)]
        for fine in range(len(merged) - 2, -1, -1):
            merged[fine] += F.interpolate(merged[fine + 1], size=merged[fine].shape[-2:], mode="nearest")
        pyramid = [norm(conv(x)) for conv, norm, x in zip(self.output, self.output_norm, merged, strict=True)]
        while len(pyramid) < len(self.strides):
            pyramid.append(F.max_pool2d(pyramid[-1], 1, 2))
        return pyramid


def _norm(config: FPNConfig) -> nn.Module:
    return nn.Identity() if config.norm is None else make_norm(config.norm, config.channels)
