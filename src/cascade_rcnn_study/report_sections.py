"""The sections of a report as text, the same for Markdown and HTML."""

import math
from dataclasses import dataclass
from pathlib import Path

from cascade_rcnn.evaluation.bootstrap import LEAST_IMAGES, Interval
from cascade_rcnn.text import points
from cascade_rcnn_study.figures import Figure
from cascade_rcnn_study.published import ABLATION, OVERVIEW
from cascade_rcnn_study.table_rows import Row, Value
from cascade_rcnn_study.tables import Table

MISSING = "missing"
PAPER = "paper"
_HEADS = {
    **{name: name.upper() for name in (*ABLATION, *OVERVIEW)},
    "ap_small": "APS",
    "ap_medium": "APM",
    "ap_large": "APL",
    **{f"masks_{name}": f"mask {name.upper()}" for name in ("ap", "ap50", "ap75")},
    "train": "train s/img",
    "test": "test s/img",
    "size": "param MiB",
}


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table of text."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table or figure of the report."""

    title: str
    note: str
    tables: tuple[tuple[str, TextTable], ...] = ()  # with their captions
    figure: Path | None = None
    missing: tuple[str, ...] = ()


def table_section(table: Table, resamples: int) -> Section:
    """Show our metrics next to the paper's, then the differences to the reference with their intervals."""
    tables = [("", metrics_table(table))]
    if any(row.difference for row in table.rows):
        tables.append((_caption(table, resamples), differences_table(table)))
    missing = [row.needs for row in table.rows if row.needs is not None and not row.ours]
    return Section(title=table.title, note=table.note, tables=tuple(tables), missing=tuple(dict.fromkeys(missing)))


def _caption(table: Table, resamples: int) -> str:
    compared = [row for row in table.rows if row.difference]
    start = f"Difference to {table.reference} in points of AP, for the same seeds and images"
    if all(math.isnan(one.low) for row in compared for one in row.difference.values()):
        return f"{start}, without intervals, which take {LEAST_IMAGES} validation images:"
    several = min(row.pairs for row in compared) > 1
    more = " and seeds" if several else " (of a row with one seed, without the randomness of training)"
    return f"{start}, with the 95 % interval over {resamples} resamples of the validation images{more}:"


def figure_section(figure: Figure, svg: Path | None) -> Section:
    """Show a figure, plotted in `svg`, with its definition."""
    return Section(title=figure.title, note=figure.definition, figure=svg, missing=figure.missing)


def metrics_table(table: Table) -> TextTable:
    """Make two lines for each row: our mean and standard deviation over seeds, and the paper's values."""
    rows = []
    for row in table.rows:
        labels = row.labels
        if row.needs is not None:
            seeds = max((value.seeds for value in row.ours.values()), default=0)
            ours = [_our_value(row.ours.get(name), name) for name in table.columns]
            who = "ours" if seeds < 2 else f"ours, {seeds} seeds"
            rows.append((*labels, who, *(ours if row.ours else [MISSING] * len(table.columns))))
            labels = ("",) * len(labels)
        if row.paper:
            rows.append((*labels, PAPER, *(_paper_value(row, name) for name in table.columns)))
    return TextTable(heads=(*table.heads, "", *(_HEADS[name] for name in table.columns)), rows=tuple(rows))


def _our_value(value: Value | None, name: str) -> str:
    if value is None:
        return "-"
    number = _number(value.mean, name)
    return number if value.std is None or name == "size" else f"{number} ± {_number(value.std, name)}"


def _paper_value(row: Row, name: str) -> str:
    return _number(row.paper[name], name) if name in row.paper else "-"


def _number(value: float, name: str) -> str:
    if name in ("train", "test"):
        return f"{value:.3f}"
    return f"{value:.0f}" if name == "size" and value >= 100 else f"{value:.1f}"


def _difference(value: Interval) -> str:
    between = "" if math.isnan(value.low) else f" [{points(value.low)}, {points(value.high)}]"
    return f"{points(value.mean)}{between}"


def differences_table(table: Table) -> TextTable:
    """Make a line for each row that is compared with the reference."""
    names = [name for name in table.columns if any(name in row.difference for row in table.rows)]
    rows = []
    for row in table.rows:
        if row.difference:
            rows.append((*row.labels, *(_difference(row.difference[name]) for name in names)))
    return TextTable(heads=(*table.heads, *(_HEADS[name] for name in names)), rows=tuple(rows))
