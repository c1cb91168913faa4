"""The files of a report: report.html, which is self-contained, and report.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_rcnn.files import replacing, write_json

PAGE, NUMBERS = "report.html", "report.json"


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report that has been written.

    >>> made = Report(page=Path("report/report.html"), numbers=Path("report/report.json"))
    >>> made.page.name, made.advice
    ('report.html', ())
    """

    page: Path  # HTML, with all that it shows inside
    numbers: Path  # JSON
    advice: tuple[str, ...] = ()  # what to do next, the most rewarding first; none for a comparison


def write(folder: Path, html: str, numbers: dict[str, Any], advice: tuple[str, ...] = ()) -> Report:
    """Write both files, the page last. Raises UserError if they cannot be written."""
    write_json(folder / NUMBERS, numbers)
    with replacing(folder / PAGE) as aside:
        aside.write_text(html, encoding="utf-8")
    return Report(page=folder / PAGE, numbers=folder / NUMBERS, advice=advice)
