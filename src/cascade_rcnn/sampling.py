"""Sampling of labelled candidates for training.

B images · N candidates · S samples
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cascade_rcnn.matching import Matches


class Sample(NamedTuple):
    """The candidates that a step trains on."""

    rows: Tensor  # (B, S) int64: indices into the N candidates
    valid: Tensor  # (B, S) bool


@torch.no_grad()
def sample(matches: Matches, number: int, positive_fraction: float) -> Sample:
    """Draw up to `number` candidates per image, of which at most this fraction are positive (Fast R-CNN, section 2.3).

    If there are too few candidates, the remaining slots are invalid. Positives come first.
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
    """Return a mask (B, N) of the `number` highest draws within `among`."""
    values, index = torch.where(among, draw, -1.0).topk(number, dim=1)
    return torch.zeros_like(among).scatter(1, index, values >= 0)


def keep_all(matches: Matches) -> Sample:
    """Keep every positive or negative candidate (later stages of the cascade, section 5.1)."""
    usable = matches.positive | matches.negative
    return Sample(torch.arange(usable.shape[1], device=usable.device).expand_as(usable), usable)
