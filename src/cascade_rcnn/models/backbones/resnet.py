"""ResNet backbones, with the maps C2..C5 of strides 4, 8, 16 and 32. Parameter names are torchvision's."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import ResNetConfig
from cascade_rcnn.layers.blocks import RESIDUAL_GAIN, DropPath, drop_rates, run
from cascade_rcnn.layers.context import GlobalContext
from cascade_rcnn.layers.convolution import Conv2d
from cascade_rcnn.layers.deformable import DeformableConv2d
from cascade_rcnn.layers.initialization import he_normal_
from cascade_rcnn.layers.normalization import conv_norm, make_norm

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> Conv2d:
    return Conv2d(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, groups, bias=False)


def _middle(config: ResNetConfig, layer: int, width: int, stride: int, dilation: int) -> Conv2d:
    """Make the 3x3 convolution of a bottleneck in layer1 to layer4."""
    deformable = config.deformable
    if deformable is None or layer not in deformable.layers:
        return _conv(width, width, 3, stride, config.groups, dilation)
    geometry = (width, width, 3, stride, dilation, dilation, config.groups)
    return DeformableConv2d(*geometry, bias=False, offset_groups=deformable.groups, modulated=deformable.modulated)


class _Block(nn.Module):
    """A residual block: two 3x3 convolutions (depth 18, 34) or a 1x1-3x3-1x1 bottleneck."""

    def __init__(
        self, config: ResNetConfig, layer: int, inputs: int, stride: int, dilation: int, drop_path: float
    ) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path)
        planes = config.planes * 2 ** (layer - 1)
        if config.depth < 50:
            outputs = planes
            convs = [_conv(inputs, planes, 3, stride, 1, dilation), _conv(planes, planes, 3, 1, 1, dilation)]
        else:
            outputs, width = planes * 4, planes * config.width_per_group // 64 * config.groups
            first, second = (stride, 1) if config.stride_in_1x1 else (1, stride)
            middle = _middle(config, layer, width, second, dilation)
            convs = [_conv(inputs, width, 1, first), middle, _conv(width, outputs, 1)]
        norms = [make_norm(config.norm, conv.out_channels) for conv in convs]
        nn.init.constant_(norms[-1].weight, RESIDUAL_GAIN)  # type: ignore[arg-type]
        for k, (conv, norm) in enumerate(zip(convs, norms, strict=True), start=1):
            self.add_module(f"conv{k}", conv)
            self.add_module(f"bn{k}", norm)
        self.names = [(f"conv{k}", f"bn{k}") for k in range(1, len(convs) + 1)]
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(_conv(inputs, outputs, 1, stride), make_norm(config.norm, outputs))
        self.context = None
        if config.context is not None and layer in config.context.layers:
            self.context = GlobalContext(outputs, max(1, int(outputs * config.context.ratio)))
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else conv_norm(self.downsample[0], self.downsample[1], x)
        for conv, norm in self.names[:-1]:
            x = F.relu_(conv_norm(getattr(self, conv), getattr(self, norm), x))
        conv, norm = self.names[-1]
        x = conv_norm(getattr(self, conv), getattr(self, norm), x)
        x = x if self.context is None else self.context(x)
        return F.relu_(self.drop_path(x).add_(shortcut))


class ResNet(nn.Module):
    """ResNet (He et al. 2016) without the classifier; `channels` and `strides` describe C2..C5."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.strides = (4, 8, 16, 16 if config.dilated else 32)
        self.conv1 = Conv2d(3, config.stem, 7, 2, 3, bias=False)
        self.bn1 = make_norm(config.norm, config.stem)
        inputs, channels = config.stem, []
        rates = drop_rates(config.drop_path, _BLOCKS[config.depth])
        for k, blocks in enumerate(_BLOCKS[config.depth], start=1):
            layer = nn.Sequential()
            dilated = config.dilated and k == 4  # all blocks, as in R-FCN; torchvision's option excludes the first
            for block in range(blocks):
                stride = 2 if k > 1 and block == 0 and not dilated else 1
                made = _Block(config, k, inputs, stride, 2 if dilated else 1, rates[k - 1][block])
                layer.append(made)
                inputs = made.outputs
            self.add_module(f"layer{k}", layer)
            channels.append(inputs)
        self.channels = tuple(channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                he_normal_(module.weight)
        for module in self.modules():
            if isinstance(module, DeformableConv2d):
                module.reset_offsets()
            elif isinstance(module, GlobalContext):
                module.reset_effect()

    def layers(self) -> Sequence[nn.Module]:
        """Return the stem and the four layers."""
        return [nn.ModuleList([self.conv1, self.bn1]), *(self.get_submodule(f"layer{k}") for k in (1, 2, 3, 4))]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to [C2, C3, C4, C5]."""
        x = x if self.config.deformable is None else x.contiguous()  # see DeformableConv2d
        x = F.max_pool2d(F.relu_(conv_norm(self.conv1, self.bn1, x)), 3, 2, 1)
        maps = []
        for k in (1, 2, 3, 4):
            for block in self.get_submodule(f"layer{k}").children():
                x = run(block, x, again=self.config.checkpointing and self.training)
            maps.append(x)
        return maps
