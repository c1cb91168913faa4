"""Box heads, H in Figure 3: features and boxes in, class logits (C) and box deltas (B) out. Each pools for itself.

B images · K boxes · M classes · R regressors: 1 (class-agnostic, the paper's) or M · S bins a side
U classifiers side by side (1, but for the integral loss), background first in each
"""

import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import BoxHead


class TwoLayerHead(nn.Module):
    """FPN's and Faster R-CNN's head: two fully connected layers, then classifiers of M + 1 and a box regressor.

    `pool` turns (features, boxes) into (B, K, inputs).
    """

    def __init__(
        self, pool: nn.Module, inputs: int, num_classes: int, config: BoxHead, *, classifiers: int = 1
    ) -> None:
        super().__init__()
        self.pool = pool
        self.fc1 = nn.Linear(inputs, config.width)
        self.fc2 = nn.Linear(config.width, config.width)
        self.classifier = nn.Linear(config.width, classifiers * (num_classes + 1))
        self.regressor = nn.Linear(config.width, 4 * (1 if config.class_agnostic else num_classes))
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_uniform_(layer.weight, a=1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.normal_(self.regressor.weight, std=0.001)
        for layer in (self.fc1, self.fc2, self.classifier, self.regressor):
            nn.init.zeros_(layer.bias)

    def forward(self, features: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (B, K, 4) -> logits (B, K, U * (M + 1)); normalised deltas (B, K, R, 4); both float32."""
        x = F.relu_(self.fc2(F.relu_(self.fc1(self.pool(features, boxes)))))
        return self.classifier(x).float(), self.regressor(x).float().unflatten(-1, (-1, 4))


class RFCNHead(nn.Module):
    """R-FCN's head: a 1x1 convolution, score maps for each bin of a box, and the average of the bins' votes.

    It reads the last of the features (dilated C5). `pool` is position-sensitive: maps of S * S * C channels, bin by
    bin, and boxes to (B, K, S * S * C). With R = 1 there are S * S * 4 box maps; the released code has twice as many,
    half of which hold deltas of the background that are never used.
    """

    def __init__(
        self, pool: nn.Module, bins: int, inputs: int, num_classes: int, config: BoxHead, *, classifiers: int = 1
    ) -> None:
        super().__init__()
        self.pool, self.bins = pool, bins  # S * S
        regressors = 1 if config.class_agnostic else num_classes
        self.conv = nn.Conv2d(inputs, config.width, 1)
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
        return self.pool([maps], boxes).unflatten(-1, (self.bins, -1)).float().mean(dim=-2)
