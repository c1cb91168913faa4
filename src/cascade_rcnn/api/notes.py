"""Notes to the user."""

import sys
from collections.abc import Iterable

from cascade_rcnn.text import printable


def tell(notes: Iterable[str]) -> None:
    """Print notes to stderr, one per line."""
    for note in notes:
        print(f"note: {printable(note)}", file=sys.stderr)
