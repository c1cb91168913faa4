"""Update the list in docs/weights.md: `python -m tools.weights`."""

import re
from pathlib import Path

from cascade_rcnn.hub.listing import as_markdown, entries

PAGE = Path(__file__).resolve().parents[1] / "docs" / "weights.md"


def main() -> None:
    """Replace the list with the current output of the converters."""
    page = PAGE.read_text()
    listed = "\n".join(as_markdown(entries(every=True)))
    PAGE.write_text(re.sub(r"^\| box AP .*?(?=\n\n|\Z)", lambda _: listed, page, count=1, flags=re.S | re.M))


if __name__ == "__main__":
    main()
