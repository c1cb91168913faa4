"""Writes the list of docs/weights.md anew: `python -m tools.weights`."""

import re
from pathlib import Path

from cascade_rcnn.hub.listing import as_markdown, entries

PAGE = Path(__file__).resolve().parents[1] / "docs" / "weights.md"


def main() -> None:
    """Replace the list by what the converters say today."""
    page = PAGE.read_text()
    listed = "\n".join(as_markdown(entries(every=True)))
    PAGE.write_text(re.sub(r"^\| box AP .*?(?=\n\n|\Z)", lambda _: listed, page, count=1, flags=re.S | re.M))


if __name__ == "__main__":
    main()
