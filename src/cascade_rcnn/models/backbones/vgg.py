"""VGG-16 up to conv5_3, with one map of stride 16. Parameter names are torchvision's."""

from collections.abc import Sequence

from torch import Tensor, nn

from cascade_rcnn.config import VGGConfig
from cascade_rcnn.layers.convolution import Conv2d
from cascade_rcnn.layers.initialization import he_normal_

_CONVOLUTIONS = (2, 2, 3, 3, 3)  # in conv1..conv5
_WIDTHS = (1, 2, 4, 8, 8)


class VGG(nn.Module):
    """VGG-16 (Simonyan & Zisserman 2015) without the last pooling and the classifier, as in Fast R-CNN."""

    strides = (16,)

    def __init__(self, config: VGGConfig) -> None:
        super().__init__()
        self.config = config
        self.features = nn.Sequential()
        inputs, begins = 3, []
        for convolutions, factor in zip(_CONVOLUTIONS, _WIDTHS, strict=True):
            if begins:
                self.features.append(nn.MaxPool2d(2))
            begins.append(len(self.features))
            for _ in range(convolutions):
                self.features.append(Conv2d(inputs, config.planes * factor, 3, padding=1))
                self.features.append(nn.ReLU(inplace=True))
                inputs = config.planes * factor
        self.channels = (inputs,)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                he_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self._begins = begins

    def layers(self) -> Sequence[nn.Module]:
        """Return conv1 to conv5, each with the pooling before it."""
        ends = [*self._begins[1:], len(self.features)]
        return [self.features[begin:end] for begin, end in zip(self._begins, ends, strict=True)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to [conv5_3], (B, C, H / 16, W / 16)."""
        return [self.features(x)]
