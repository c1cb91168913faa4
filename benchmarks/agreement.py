"""Compare the detections of two detectors."""

import torch
from torch import Tensor

_SAME = 1.0  # pixels; two boxes of a class within this distance are the same detection


def agreement(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> str:
    """Say how many detections (in torchvision's format) both have, and how much these differ at most.

    Boxes without area are left out: mmdetection returns them, and this package does not.
    """
    real = (theirs["boxes"][:, 2:] > theirs["boxes"][:, :2]).all(dim=1)
    theirs = {name: values[real] for name, values in theirs.items()}
    distance = torch.cdist(theirs["boxes"].double(), ours["boxes"].double(), p=float("inf"))
    distance[theirs["labels"][:, None] != ours["labels"]] = float("inf")
    nobody = torch.full((len(distance), 1), float("inf"), dtype=distance.dtype)
    nearest, partner = torch.cat([distance, nobody], dim=1).min(dim=1)
    same = nearest <= _SAME
    number = max(len(theirs["boxes"]), len(ours["boxes"]))
    if not same.any():
        return f"none of {number} detections are the same"
    pair = partner[same]
    scores = (theirs["scores"][same] - ours["scores"][pair]).abs().max().item()
    counted = f"{int(same.sum())} of {number} detections"
    said = f"{counted} are the same, within {nearest[same].max():.1g} pixels and {scores:.1g} in score"
    if "masks" not in theirs:
        return said
    least = min(_overlap(a, b) for a, b in zip(theirs["masks"][same], ours["masks"][pair], strict=True))
    return f"{said}; the lowest IoU of their masks is {least:.3f}"


def _overlap(one: Tensor, other: Tensor) -> float:
    """Return the IoU of two masks, given as booleans or probabilities."""
    one, other = one >= 0.5, other >= 0.5
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0
