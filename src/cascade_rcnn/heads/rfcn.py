"""R-FCN's box head (Dai et al. 2016): the boxes' classes and deltas are votes of position-sensitive score maps.

B images · K boxes · M classes · R regressors: 1 (class-agnostic, the paper's) or M · S bins a side
U classifiers side by side (1, but for the integral loss), background first in each
"""

import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import RFCNHeadConfig


class RFCNHead(nn.Module):
    """A 1x1 convolution, score maps for each bin of a box, and the average of the bins' votes.

    It reads the last of the features (dilated C5). `pool` is position-sensitive: maps of S * S * C channels, bin by
    bin, and boxes to (B * K, C, S, S). With R = 1 there are S * S * 4 box maps; the released code has twice as many,
    half of which hold deltas of the background that are never used.
    """

    def __init__(
        self,
        pool: nn.Module,
        channels: int,
        bins: int,
        num_classes: int,
        config: RFCNHeadConfig,
        *,
        classifiers: int = 1,
    ) -> None:
        """channels: those of the last map; bins: S * S."""
        super().__init__()
        self.pool = pool
        regressors = 1 if config.class_agnostic else num_classes
        self.conv = nn.Conv2d(channels, config.width, 1)
        self.classifier = nn.Conv2d(config.width, bins * classifiers * (num_classes + 1), 1)
        self.regressor = nn.Conv2d(config.width, bins * 4 * regressors, 1)
        for layer in (self.conv, self.classifier, self.regressor):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (B, K, 4) -> logits (B, K, U * (M + 1)); normalised deltas (B, K, R, 4); both float32."""
        x = F.relu_(self.conv(features[-1]))
        return self._vote(self.classifier(x), boxes), self._vote(self.regressor(x), boxes).unflatten(-1, (-1, 4))

    def _vote(self, maps: Tensor, boxes: Tensor) -> Tensor:
        """Maps (B, S * S * C, H, W) -> (B, K, C)."""
        return self.pool([maps], boxes).float().mean(dim=(2, 3)).unflatten(0, boxes.shape[:2])
