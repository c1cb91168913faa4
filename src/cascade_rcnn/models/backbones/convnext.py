"""ConvNeXt backbones, with maps of strides 4, 8, 16 and 32. Parameter names are torchvision's.

B images · C channels
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import ConvNeXtConfig
from cascade_rcnn.layers.blocks import DropPath, drop_rates, run
from cascade_rcnn.layers.convolution import Conv2d
from cascade_rcnn.layers.normalization import LayerNorm2d

_EPS = 1e-6


class _Block(nn.Module):
    """A residual block: a depthwise 7x7 convolution, normalisation and two pointwise layers, scaled per channel."""

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.block = nn.ModuleDict(  # numbered as in torchvision, where the steps in between are modules, too
            {
                "0": Conv2d(channels, channels, 7, padding=3, groups=channels),
                "2": nn.LayerNorm(channels, eps=_EPS),
                "3": nn.Linear(channels, 4 * channels),
                "5": nn.Linear(4 * channels, channels),
            }
        )
        self.layer_scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.drop_path = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        part = self.block
        branch = part["2"](part["0"](x).permute(0, 2, 3, 1))
        branch = part["5"](F.gelu(part["3"](branch))).permute(0, 3, 1, 2)
        return x + self.drop_path(self.layer_scale * branch)


class ConvNeXt(nn.Module):
    """ConvNeXt (Liu et al. 2022) without the classifier, with normalised output maps, as in its detectors."""

    strides = (4, 8, 16, 32)

    def __init__(self, config: ConvNeXtConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = tuple(config.width * 2**k for k in range(4))
        self.features = nn.ModuleList()
        for k, rates in enumerate(drop_rates(config.drop_path, config.depths)):
            channels = self.channels[k]
            if k == 0:
                into = (Conv2d(3, channels, 4, 4), LayerNorm2d(channels, eps=_EPS))
            else:
                into = (LayerNorm2d(channels // 2, eps=_EPS), Conv2d(channels // 2, channels, 2, 2))
            self.features.append(nn.Sequential(*into))
            self.features.append(nn.ModuleList(_Block(channels, rate) for rate in rates))
        self.output_norm = nn.ModuleList(LayerNorm2d(channels, eps=_EPS) for channels in self.channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.no_decay = {name for name, _ in self.named_parameters() if name.endswith("layer_scale")}

    def layers(self) -> Sequence[nn.Module]:
        """Return the stem and the four stages with their downsampling, the third in groups of three blocks.

        The normalisation of an output map belongs to the layer that computes it. These are the groups of the authors'
        layer-wise learning rate decay.
        """
        stem, *others = self.features
        first, into2, second, into3, third, into4, last = others
        assert isinstance(third, nn.ModuleList)
        deep = [third[k : k + 3] for k in range(0, len(third), 3)]
        parts = [[stem], [first], [into2, second], [into3, deep[0]], *([part] for part in deep[1:]), [into4, last]]
        for part, norm in zip((parts[1], parts[2], parts[-2], parts[-1]), self.output_norm, strict=True):
            part.append(norm)
        return [nn.ModuleList(part) for part in parts]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to four maps (B, channels[l], H / strides[l], W / strides[l])."""
        maps, again = [], self.config.checkpointing and self.training
        for k, norm in enumerate(self.output_norm):
            x = self.features[2 * k](x)
            for block in self.features[2 * k + 1]:  # type: ignore[attr-defined]
                x = run(block, x, again=again)
            maps.append(norm(x))
        return maps
