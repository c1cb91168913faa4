"""Res2Net backbones, with the maps C2..C5 of strides 4, 8, 16 and 32. Parameters are named for folding.

In the first block of a layer the parts of a bottleneck do not build on one another; the part without a convolution is
pooled where the block has a stride, and otherwise passed on, as in mmdetection. timm's is also pooled in layer1.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import NormConfig, Res2NetConfig
from cascade_rcnn.layers.blocks import RESIDUAL_GAIN, DropPath, drop_rates, run
from cascade_rcnn.layers.convolution import Conv2d
from cascade_rcnn.layers.initialization import he_normal_
from cascade_rcnn.layers.normalization import conv_norm, make_norm

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> Conv2d:
    return Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def _stem(norm: NormConfig, channels: int) -> nn.Sequential:
    """Make three 3x3 convolutions, of stride 2 together, each with normalisation and ReLU."""
    stem, half = nn.Sequential(), channels // 2
    for inputs, outputs, stride in ((3, half, 2), (half, half, 1), (half, channels, 1)):
        stem.extend([_conv(inputs, outputs, 3, stride), make_norm(norm, outputs), nn.ReLU(inplace=True)])
    return stem


class _Block(nn.Module):
    """A bottleneck whose 3x3 convolutions each see a part of the channels and what the one before found."""

    def __init__(self, config: Res2NetConfig, inputs: int, planes: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.width, self.stride, self.drop_path = planes * config.base_width // 64, stride, DropPath(drop_path)
        outputs, inner, parts = planes * 4, self.width * config.scales, config.scales - 1
        self.conv1, self.bn1 = _conv(inputs, inner, 1), make_norm(config.norm, inner)
        self.convs = nn.ModuleList(_conv(self.width, self.width, 3, stride) for _ in range(parts))
        self.convs_norm = nn.ModuleList(make_norm(config.norm, self.width) for _ in range(parts))
        self.conv3, self.bn3 = _conv(inner, outputs, 1), make_norm(config.norm, outputs)
        nn.init.constant_(self.bn3.weight, RESIDUAL_GAIN)  # type: ignore[arg-type]
        self.downsample = None  # only the first block of a layer has one
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(_conv(inputs, outputs, 1), make_norm(config.norm, outputs))
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self._downsampled(x, self.downsample)
        *parts, last = F.relu_(conv_norm(self.conv1, self.bn1, x)).split(self.width, dim=1)
        found: list[Tensor] = []
        for part, conv, norm in zip(parts, self.convs, self.convs_norm, strict=True):
            builds_on = found and self.downsample is None
            found.append(F.relu_(conv_norm(conv, norm, part + found[-1] if builds_on else part)))
        found.append(F.avg_pool2d(last, 3, self.stride, 1) if self.stride > 1 else last)
        x = conv_norm(self.conv3, self.bn3, torch.cat(found, dim=1))
        return F.relu_(self.drop_path(x).add_(shortcut))

    def _downsampled(self, x: Tensor, projection: nn.Sequential) -> Tensor:
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, self.stride, ceil_mode=True, count_include_pad=False)
        return conv_norm(projection[0], projection[1], x)


class Res2Net(nn.Module):
    """Res2Net (Gao et al. 2019) without the classifier; `channels` and `strides` describe C2..C5."""

    strides = (4, 8, 16, 32)

    def __init__(self, config: Res2NetConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = tuple(4 * config.planes << k for k in range(4))
        self.stem = _stem(config.norm, config.stem)
        inputs = config.stem
        for k, rates in enumerate(drop_rates(config.drop_path, _BLOCKS[config.depth])):
            layer = nn.Sequential()
            for number, rate in enumerate(rates):
                block = _Block(config, inputs, config.planes << k, 2 if k and number == 0 else 1, rate)
                layer.append(block)
                inputs = block.outputs
            self.add_module(f"layer{k + 1}", layer)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                he_normal_(module.weight)

    def layers(self) -> Sequence[nn.Module]:
        """Return the stem and the four layers."""
        return [self.stem, *(self.get_submodule(f"layer{k}") for k in (1, 2, 3, 4))]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to [C2, C3, C4, C5]."""
        for k in (0, 3, 6):
            x = F.relu_(conv_norm(self.stem[k], self.stem[k + 1], x))
        x, maps = F.max_pool2d(x, 3, 2, 1), []
        for layer in self.layers()[1:]:
            for block in layer.children():
                x = run(block, x, again=self.config.checkpointing and self.training)
            maps.append(x)
        return maps
