"""Global context: a summary of the whole image, added to every position.

B images · C channels
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.layers.convolution import Conv2d


class GlobalContext(nn.Module):
    """GCNet's block (Cao et al. 2019): attention pooling, a bottleneck of `width` channels, and addition."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.attention = Conv2d(channels, 1, 1)
        self.fc1 = Conv2d(channels, width, 1)
        self.norm = nn.LayerNorm(width)
        self.fc2 = Conv2d(width, channels, 1)
        self.reset_effect()

    def reset_effect(self) -> None:
        """Zero the last layer, so that the block starts as the identity."""
        nn.init.zeros_(self.fc2.weight)
        assert self.fc2.bias is not None
        nn.init.zeros_(self.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        share = self.attention(x).flatten(2).softmax(dim=2)  # (B, 1, H W)
        context = torch.matmul(x.flatten(2), share.transpose(1, 2).to(x.dtype))[..., None]  # (B, C, 1, 1)
        hidden = F.relu(self.norm(self.fc1(context).flatten(1)))
        return x + self.fc2(hidden[..., None, None])
