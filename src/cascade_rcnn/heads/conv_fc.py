"""Box head of convolutions and fully connected layers: FPN's 2fc, and the 4conv1fc of stronger baselines.

B images · K boxes · R = B * K rows · C channels · S bins per side · M classes
U parallel classifiers (1, except for the integral loss), background first in each
"""

import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.config import ConvFCHeadConfig
from cascade_rcnn.layers.convolution import Conv2d
from cascade_rcnn.layers.initialization import he_normal_
from cascade_rcnn.layers.normalization import RoIBatchNorm2d, make_norm


class ConvFCHead(nn.Module):
    """Pooled features -> 3x3 convolutions -> fully connected layers -> (M + 1)-way classifiers and a box regressor.

    `pool` maps (features, boxes) to (R, C, S, S).
    """

    def __init__(
        self,
        pool: nn.Module,
        channels: int,
        bins: int,
        num_classes: int,
        config: ConvFCHeadConfig,
        *,
        classifiers: int = 1,
    ) -> None:
        """`channels` is C of the pooled features, `bins` is S * S."""
        super().__init__()
        self.pool, self.config = pool, config
        self._add_convs(channels)
        inputs = (config.conv_channels if config.convs else channels) * bins
        for k in range(1, config.fcs + 1):
            self.add_module(f"fc{k}", nn.Linear(inputs, config.width))
            inputs = config.width
        self.classifier = nn.Linear(inputs, classifiers * (num_classes + 1))
        self.regressor = nn.Linear(inputs, 4 * (1 if config.class_agnostic else num_classes))
        hidden = [self.get_submodule(f"fc{k}") for k in range(1, config.fcs + 1)]
        for layer in hidden:
            nn.init.kaiming_uniform_(layer.weight, a=1)  # type: ignore[arg-type]
        # The outputs keep torch's initial weights. With smaller ones (usually a std of 0.01 and 0.001), so little of
        # the gradient reaches the features that they learn boxes and rare classes a hundred updates later.
        for layer in (*hidden, self.classifier, self.regressor):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def _add_convs(self, channels: int) -> None:
        config = self.config
        for k in range(1, config.convs + 1):
            conv = Conv2d(channels, config.conv_channels, 3, padding=1, bias=config.norm is None)
            he_normal_(conv.weight)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            self.add_module(f"conv{k}", conv)
            if config.norm is not None:
                self.add_module(f"bn{k}", make_norm(config.norm, config.conv_channels, of_rois=True))
            channels = config.conv_channels

    def forward(self, features: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Map boxes (B, K, 4) to logits (B, K, U * (M + 1)) and normalised deltas (B, K, R, 4), both float32."""
        x = self.pool(features, boxes)
        for k in range(1, self.config.convs + 1):
            x = getattr(self, f"conv{k}")(x)
            if self.config.norm is not None:
                norm = getattr(self, f"bn{k}")
                x = norm(x, box_ops.nonempty(boxes).flatten()) if isinstance(norm, RoIBatchNorm2d) else norm(x)
            x = F.relu_(x)
        x = x.permute(0, 2, 3, 1).flatten(1)  # channels last, as stored in memory
        for k in range(1, self.config.fcs + 1):
            x = F.relu_(getattr(self, f"fc{k}")(x))
        logits, deltas = (layer(x).float().unflatten(0, boxes.shape[:2]) for layer in (self.classifier, self.regressor))
        return logits, deltas.unflatten(-1, (-1, 4))
