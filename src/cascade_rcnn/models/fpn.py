"""The necks between the backbone and the RPN and heads: a feature pyramid, or a selection of the backbone's maps."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import FPNConfig
from cascade_rcnn.layers.convolution import Conv2d
from cascade_rcnn.layers.normalization import make_norm


class SingleScale(nn.Module):
    """No pyramid: the maps of stride 16 (conv5_3 of VGG; for R-FCN, C4 for the RPN and dilated C5 for the head)."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.kept = [k for k, stride in enumerate(strides) if stride == 16]
        self.channels = tuple(channels[k] for k in self.kept)
        self.strides = (16,) * len(self.kept)
        self.pooled = len(self.kept)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Select the backbone's maps of stride 16."""
        return [maps[k] for k in self.kept]


class FeaturePyramid(nn.Module):
    """Feature pyramid network (Lin et al. 2017): C2..C5 -> P2..P5, plus coarser levels for the RPN.

    1x1 lateral convolutions, a top-down sum and 3x3 output convolutions; P6 is P5 at half resolution. `channels` and
    `strides` describe all levels; RoIs are pooled from the first `pooled`, as many as the backbone has.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], config: FPNConfig, levels: int) -> None:
        """`channels` and `strides` are the backbone's, `levels` is the number of output maps."""
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
        """Map [C2..C5], each (B, C_l, H_l, W_l), to [P2..P5] (and P6), each (B, C, H_l, W_l)."""
        merged = [norm(conv(x)) for conv, norm, x in zip(self.lateral, self.lateral_norm, maps, strict=True)]
        for fine in range(len(merged) - 2, -1, -1):
            merged[fine] += F.interpolate(merged[fine + 1], size=merged[fine].shape[-2:], mode="nearest")
        pyramid = [norm(conv(x)) for conv, norm, x in zip(self.output, self.output_norm, merged, strict=True)]
        while len(pyramid) < len(self.strides):
            pyramid.append(F.max_pool2d(pyramid[-1], 1, 2))
        return pyramid


def _norm(config: FPNConfig) -> nn.Module:
    return nn.Identity() if config.norm is None else make_norm(config.norm, config.channels)
