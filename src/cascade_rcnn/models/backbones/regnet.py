"""RegNetX backbones, with maps of strides 4, 8, 16 and 32. Parameter names are torchvision's."""

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import NormConfig, RegNetConfig
from cascade_rcnn.layers.blocks import RESIDUAL_GAIN, DropPath, drop_rates, run
from cascade_rcnn.layers.convolution import Conv2d
from cascade_rcnn.layers.initialization import he_normal_
from cascade_rcnn.layers.normalization import conv_norm, make_norm


def _conv_norm(norm: NormConfig, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """Make a convolution and its normalisation, as items 0 and 1."""
    conv = Conv2d(inputs, outputs, kernel, stride, kernel // 2, 1, groups, bias=False)
    he_normal_(conv.weight)
    return nn.Sequential(conv, make_norm(norm, outputs))


def _run(pair: nn.Module, x: Tensor) -> Tensor:
    return conv_norm(pair.get_submodule("0"), pair.get_submodule("1"), x)


class _Block(nn.Module):
    """A residual block: 1x1, grouped 3x3 and 1x1 convolutions of the same width."""

    def __init__(self, norm: NormConfig, inputs: int, width: int, stride: int, groups: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path)
        self.proj = None
        if stride != 1 or inputs != width:
            self.proj = _conv_norm(norm, inputs, width, 1, stride)
        self.f = nn.Module()
        self.f.a = _conv_norm(norm, inputs, width, 1)
        self.f.b = _conv_norm(norm, width, width, 3, stride, groups)
        self.f.c = _conv_norm(norm, width, width, 1)
        nn.init.constant_(self.get_submodule("f.c.1").weight, RESIDUAL_GAIN)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.proj is None else _run(self.proj, x)
        for name in ("f.a", "f.b"):
            x = F.relu_(_run(self.get_submodule(name), x))
        return F.relu_(self.drop_path(_run(self.get_submodule("f.c"), x)).add_(shortcut))


class RegNet(nn.Module):
    """RegNetX (Radosavovic et al. 2020) without the classifier."""

    strides = (4, 8, 16, 32)

    def __init__(self, config: RegNetConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.widths
        self.stem = _conv_norm(config.norm, 3, config.stem, 3, 2)
        self.trunk_output = nn.Module()
        inputs, rates = config.stem, drop_rates(config.drop_path, config.depths)
        for k, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True), start=1):
            groups, blocks = width // min(width, config.group_width), OrderedDict()
            for number in range(depth):
                stride, rate = 2 if number == 0 else 1, rates[k - 1][number]
                blocks[f"block{k}-{number}"] = _Block(config.norm, inputs, width, stride, groups, rate)
                inputs = width
            self.trunk_output.add_module(f"block{k}", nn.Sequential(blocks))

    def layers(self) -> Sequence[nn.Module]:
        """Return the stem and the four stages."""
        return [self.stem, *(self.get_submodule(f"trunk_output.block{k}") for k in (1, 2, 3, 4))]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to four maps (B, channels[l], H / strides[l], W / strides[l])."""
        x, maps = F.relu_(_run(self.stem, x)), []
        for stage in self.layers()[1:]:
            for block in stage.children():
                x = run(block, x, again=self.config.checkpointing and self.training)
            maps.append(x)
        return maps
