"""Box heads, H in Figure 3: pooled features in, class logits (C) and box deltas (B) out.

B images · K boxes · D pooled features · M classes · R regressors: 1 (class-agnostic, the paper's) or M
"""

import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import BoxHead


class TwoLayerHead(nn.Module):
    """FPN's head: two fully connected layers, then a classifier over M + 1 classes and a box regressor."""

    def __init__(self, inputs: int, num_classes: int, config: BoxHead) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, config.width)
        self.fc2 = nn.Linear(config.width, config.width)
        self.classifier = nn.Linear(config.width, num_classes + 1)
        self.regressor = nn.Linear(config.width, 4 * (1 if config.class_agnostic else num_classes))
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_uniform_(layer.weight, a=1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.normal_(self.regressor.weight, std=0.001)
        for layer in (self.fc1, self.fc2, self.classifier, self.regressor):
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, D) -> logits (B, K, M + 1), background first; normalised deltas (B, K, R, 4); both float32."""
        x = F.relu(self.fc2(F.relu(self.fc1(pooled))))
        return self.classifier(x).float(), self.regressor(x).float().unflatten(-1, (-1, 4))
