"""Tables and figures as text, for Markdown and HTML alike."""

from dataclasses import dataclass
from pathlib import Path

from cascade_rcnn.studies.figures import Figure
from cascade_rcnn.studies.tables import HEADS, Row, Table, Value

MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table as text."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table or figure of the report."""

    title: str
    note: str
    grids: tuple[tuple[str, Grid], ...] = ()  # with a caption each
    figure: Path | None = None
    missing: tuple[str, ...] = ()


def table_section(table: Table, resamples: int) -> Section:
    """Our figures beside the paper's, and how sure the differences are."""
    grids = [("", figures_grid(table))]
    if any(row.difference for row in table.rows):
        caption = (
            f"Difference to {table.reference}, in points of AP, on the same seeds and images, with the 95 % interval "
            f"of {resamples} resamples of the validation images:"
        )
        grids.append((caption, differences_grid(table)))
    missing = [row.needs for row in table.rows if row.needs is not None and not row.ours]
    return Section(title=table.title, note=table.note, grids=tuple(grids), missing=tuple(dict.fromkeys(missing)))


def figures_grid(table: Table) -> Grid:
    """Two lines a row: ours (mean and standard deviation over seeds) and the paper's."""
    rows = []
    for row in table.rows:
        labels = row.labels
        if row.needs is not None:
            seeds = max((value.seeds for value in row.ours.values()), default=0)
            ours = [_ours(row.ours.get(name), name) for name in table.columns]
            who = "here" if seeds < 2 else f"here, {seeds} seeds"
            rows.append((*labels, who, *(ours if row.ours else [MISSING] * len(table.columns))))
            labels = ("",) * len(labels)
        if row.paper:
            rows.append((*labels, "paper", *(_paper(row, name) for name in table.columns)))
    return Grid(heads=(*table.heads, "", *(HEADS[name] for name in table.columns)), rows=tuple(rows))


def _ours(value: Value | None, name: str) -> str:
    if value is None:
        return "-"
    number = _number(value.mean, name)
    return number if value.std is None or name == "size" else f"{number} ± {_number(value.std, name)}"


def _paper(row: Row, name: str) -> str:
    return _number(row.paper[name], name) if name in row.paper else "-"


def _number(value: float, name: str) -> str:
    if name in ("train", "test"):
        return f"{value:.3f}"
    return f"{value:.0f}" if name == "size" and value >= 100 else f"{value:.1f}"


def differences_grid(table: Table) -> Grid:
    """A line for each row that is compared."""
    names = [name for name in table.columns if any(name in row.difference for row in table.rows)]
    rows = []
    for row in table.rows:
        if row.difference:
            cells = [row.difference[name] for name in names]
            shown = [f"{_points(x.mean)} [{_points(x.low)}, {_points(x.high)}]" for x in cells]
            rows.append((*row.labels, *shown))
    return Grid(heads=(*table.heads, *(HEADS[name] for name in names)), rows=tuple(rows))


def _points(difference: float) -> str:
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def figure_section(figure: Figure, svg: Path | None) -> Section:
    """A figure, as drawn in `svg`, with its definition."""
    return Section(title=figure.title, note=figure.definition, figure=svg, missing=figure.missing)
