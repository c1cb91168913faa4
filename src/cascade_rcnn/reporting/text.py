"""Formatting of numbers for pages."""

import math

from cascade_rcnn.evaluation.bootstrap import Interval

_NONE = "–"


def percent(value: float) -> str:
    """Return 0..1 as 0..100 with one decimal."""
    return _NONE if math.isnan(value) else f"{100 * value:.1f}"


def signed(value: float) -> str:
    """Return a difference in 0..1 as points with a sign."""
    return _NONE if math.isnan(value) else f"{100 * value:+.1f}".replace("-", "−")


def between(interval: Interval) -> str:
    """Return the bounds of an interval."""
    return _NONE if math.isnan(interval.low) else f"{percent(interval.low)} to {percent(interval.high)}"


def decimal(value: float) -> str:
    """Return a score, threshold or IoU."""
    return _NONE if math.isnan(value) else f"{value:.2f}"
