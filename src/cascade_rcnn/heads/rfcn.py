"""R-FCN's box head (Dai et al. 2016): position-sensitive score maps vote on classes and deltas.

B images · K boxes · M classes · R regressors: 1 (class-agnostic, as in the paper) or M · S bins per side
U parallel classifiers (1, except for the integral loss), background first in each
"""

import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import RFCNHeadConfig


class RFCNHead(nn.Module):
    """A 1x1 convolution, score maps for each bin of a box, and an average over the bins.

    The head uses the last feature map (dilated C5). `pool` is position-sensitive: it maps S * S * C channels, grouped
    by bin, and boxes to (B * K, C, S, S). With R = 1 there are S * S * 4 box maps; the released code has twice as many,
    half of which predict deltas for the background that are never used.
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
        """`channels` is the width of the last feature map, `bins` is S * S."""
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
        """Map boxes (B, K, 4) to logits (B, K, U * (M + 1)) and normalised deltas (B, K, R, 4), both float32."""
        x = F.relu_(self.conv(features[-1]))
        return self._vote(self.classifier(x), boxes), self._vote(self.regressor(x), boxes).unflatten(-1, (-1, 4))

    def _vote(self, maps: Tensor, boxes: Tensor) -> Tensor:
        """Pool score maps (B, S * S * C, H, W) and average the bins: (B, K, C)."""
        return self.pool([maps], boxes).float().mean(dim=(2, 3)).unflatten(0, boxes.shape[:2])
