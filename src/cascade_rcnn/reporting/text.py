"""Format numbers for pages; NaN becomes a dash."""

import math
from collections.abc import Callable

from cascade_rcnn.evaluation.bootstrap import LEAST_IMAGES, Interval
from cascade_rcnn.text import points

_NONE = "–"


def percent(value: float) -> str:
    """Format a value in 0..1 as a percentage with one decimal, without the sign."""
    return _NONE if math.isnan(value) else f"{100 * value:.1f}"


def signed(value: float) -> str:
    """Format a difference of values in 0..1 as percentage points with a sign."""
    return _NONE if math.isnan(value) else points(value).replace("-", "−")


def between(interval: Interval, write: Callable[[float], str] = percent) -> str:
    """Format the bounds of an interval, or say why there are none."""
    if math.isnan(interval.low):
        return _NONE if math.isnan(interval.mean) else f"fewer than {LEAST_IMAGES} images"
    return f"{write(interval.low)} to {write(interval.high)}"


def decimal(value: float) -> str:
    """Format a score, threshold or IoU with two decimals, or two digits if it is below 0.01."""
    if math.isnan(value):
        return _NONE
    return f"{value:.2g}" if 0 < value < 0.01 else f"{value:.2f}"
