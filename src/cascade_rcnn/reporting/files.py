"""The files of a report: a self-contained report.html, and report.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_rcnn.files import write_json, write_text
from cascade_rcnn.outputs import check_owned

PAGE, NUMBERS = "report.html", "report.json"


@dataclass(frozen=True, kw_only=True)
class Report:
    """A written report.

    >>> made = Report(page=Path("report/report.html"), numbers=Path("report/report.json"))
    >>> made.page.name, made.advice
    ('report.html', ())
    """

    page: Path  # self-contained HTML
    numbers: Path  # JSON
    advice: tuple[str, ...] = ()  # the most rewarding first; empty for comparisons
    answer: str = ""  # of a comparison: which run is better, and by how much


def report_files(folder: str | Path | None) -> list[Path]:
    """Return the files of a report in this folder; none without a folder. Raises UserError if it has another page."""
    if folder is None:
        return []
    check_owned(Path(folder), [PAGE], record=NUMBERS)
    return [Path(folder) / NUMBERS, Path(folder) / PAGE]


def write(folder: Path, html: str, numbers: dict[str, Any], advice: tuple[str, ...] = (), answer: str = "") -> Report:
    """Write both files, the page last. Raises UserError if they cannot be written."""
    write_json(folder / NUMBERS, numbers)
    write_text(folder / PAGE, html)
    return Report(page=folder / PAGE, numbers=folder / NUMBERS, advice=advice, answer=answer)
