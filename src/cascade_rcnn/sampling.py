"""Drawing what a step trains on from labelled candidates.

B images · N candidates · S samples
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cascade_rcnn.matching import Matches


class Sample(NamedTuple):
    """The candidates a step trains on."""

    rows: Tensor  # (B, S) int64: which of the N
    valid: Tensor  # (B, S) bool


@torch.no_grad()
def sample(matches: Matches, number: int, positive_fraction: float) -> Sample:
    """Draw up to `number` candidates an image: at most that fraction positive, the rest background (Fast R-CNN, 2.3).

    With too few of either kind the sample is smaller (slots not valid). Positives come first.
    """
    positive, negative = matches.positive, matches.negative
    quota = int(number * positive_fraction)
    number = min(number, positive.shape[1])
    draw = torch.rand(positive.shape, device=positive.device)
    chosen = _drawn(draw, positive, min(quota, number))
    rank = torch.where(negative, draw, -1.0).masked_fill(chosen, 2.0)
    values, index = rank.topk(number, dim=1)
    return Sample(index, values >= 0)


def _drawn(draw: Tensor, among: Tensor, number: int) -> Tensor:
    """(B, N) bool: the `number` highest draws of those allowed."""
    values, index = torch.where(among, draw, -1.0).topk(number, dim=1)
    return torch.zeros_like(among).scatter(1, index, values >= 0)


def keep_all(matches: Matches) -> Sample:
    """The sample of every candidate that is positive or negative (later stages of the cascade, section 5.1)."""
    usable = matches.positive | matches.negative
    return Sample(torch.arange(usable.shape[1], device=usable.device).expand_as(usable), usable)
