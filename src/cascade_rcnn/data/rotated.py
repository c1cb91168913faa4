"""Rotated rectangles, which CVAT exports as the box before the rotation and its angle."""

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]


def degrees(angle: object) -> float:
    """Return an angle as a number, 0 if it is missing or not a finite number."""
    try:
        value = float(angle)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return 0.0
    return value if math.isfinite(value) else 0.0


def upright(box: Sequence[float], angle: float) -> Box:
    """Return the upright box (x, y, width, height) around one that is rotated by `angle` degrees about its centre.

    >>> upright((10, 20, 30, 10), 90)
    (20.0, 10.0, 10.0, 30.0)
    """
    x, y, width, height = box
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    # Rounded, as the sine of 180 degrees is not quite 0.
    wide, high = round(width * cos + height * sin, 9), round(width * sin + height * cos, 9)
    return x + (width - wide) / 2, y + (height - high) / 2, wide, high


def rotation_note(number: int, total: int) -> list[str]:
    """Return a note about rotated boxes, if there are any."""
    return [f"{number} of {total} boxes are rotated (CVAT); the upright boxes around them are used"] if number else []
