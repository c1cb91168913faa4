"""What a user should know besides the result."""

import sys
from collections.abc import Iterable

from cascade_rcnn.text import printable


def tell(notes: Iterable[str]) -> None:
    """A line each, on stderr."""
    for note in notes:
        print(f"note: {printable(note)}", file=sys.stderr)
