"""Do two detectors find the same?"""

import torch
from torch import Tensor

_SAME = 1.0  # pixels: two boxes of a class within this distance are one detection


def agreement(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> str:
    """What share of their detections (torchvision's form) ours has, and the largest differences among those."""
    distance = torch.cdist(theirs["boxes"].double(), ours["boxes"].double(), p=float("inf"))
    distance[theirs["labels"][:, None] != ours["labels"]] = float("inf")
    nearest, partner = distance.min(dim=1)
    same = nearest <= _SAME
    if not same.any():
        return f"none of {len(same)} detections is the same"
    scores = (theirs["scores"] - ours["scores"][partner]).abs()[same].max().item()
    counted = f"{int(same.sum())} of {len(same)} detections"
    return f"{counted} are the same, within {nearest[same].max():.1g} pixels and {scores:.1g} in score"
