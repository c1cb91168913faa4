"""From the backbone's maps to those that the RPN and the heads read: a feature pyramid, or none."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.models.convolution import Conv2d


class SingleScale(nn.Module):
    """No pyramid: the maps of stride 16 (VGG's conv5_3; C4, which the RPN reads, and dilated C5, which R-FCN does)."""

    strides = (16,)

    def __init__(self, strides: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        self.kept = [k for k, stride in enumerate(strides) if stride == 16]
        self.channels = tuple(channels[k] for k in self.kept)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The backbone's maps -> those of stride 16."""
        return [maps[k] for k in self.kept]


class FeaturePyramid(nn.Module):
    """C2..C5 -> P2..P5, and P6 where the RPN wants it (Lin et al. 2017).

    Lateral 1x1 convolutions, a top-down sum, 3x3 output convolutions; P6 is P5 at half resolution.
    """

    strides = (4, 8, 16, 32, 64)

    def __init__(self, inputs: Sequence[int], channels: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.channels = (channels,) * levels
        self.lateral = nn.ModuleList(Conv2d(c, channels, 1) for c in inputs)
        self.output = nn.ModuleList(Conv2d(channels, channels, 3, padding=1) for _ in inputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[C2..C5], each (B, C_l, H_l, W_l) -> [P2, P3, P4, P5] or with P6, each (B, C, H_l, W_l)."""
        merged = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for fine in range(len(merged) - 2, -1, -1):
            merged[fine] += F.interpolate(merged[fine + 1], size=merged[fine].shape[-2:], mode="nearest")
        pyramid = [output(x) for output, x in zip(self.output, merged, strict=True)]
        if self.levels > len(pyramid):
            pyramid.append(F.max_pool2d(pyramid[-1], 1, 2))
        return pyramid
