"""Format numbers for pages; NaN becomes a dash."""

import math

from cascade_rcnn.evaluation.bootstrap import Interval

_NONE = "–"


def percent(value: float) -> str:
    """Format a value in 0..1 as a percentage with one decimal, without the sign."""
    return _NONE if math.isnan(value) else f"{100 * value:.1f}"


def signed(value: float) -> str:
    """Format a difference of values in 0..1 as percentage points with a sign."""
    return _NONE if math.isnan(value) else f"{100 * value:+.1f}".replace("-", "−")


def between(interval: Interval) -> str:
    """Format the bounds of an interval as percentages."""
    return _NONE if math.isnan(interval.low) else f"{percent(interval.low)} to {percent(interval.high)}"


def decimal(value: float) -> str:
    """Format a score, threshold or IoU with two decimals."""
    return _NONE if math.isnan(value) else f"{value:.2f}"
