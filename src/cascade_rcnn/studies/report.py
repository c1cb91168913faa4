"""A study's report from its runs: report.md, report.json and report.html, with figures/ beside them.

Nothing is trained or measured here; what is not there is marked as missing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import replacing, write_json
from cascade_rcnn.studies import figures
from cascade_rcnn.studies.alike import check_alike
from cascade_rcnn.studies.bootstrap import RESAMPLES
from cascade_rcnn.studies.figures import Figure
from cascade_rcnn.studies.page import html_page
from cascade_rcnn.studies.sections import Grid, Section, figure_section, table_section
from cascade_rcnn.studies.store import Store
from cascade_rcnn.studies.tables import TABLES, Collector, Table


def render(output: Path, asked: Iterable[str] = (), resamples: int = RESAMPLES) -> Path:
    """Write OUTPUT/report and return its HTML page: the tables and figures asked for, and all that are complete.

    Raises UserError where there are no runs, or runs that cannot stand in one report.
    """
    store, asked, report = Store(output), set(asked), output / "report"
    records: list[dict[str, Any]] = [run.read("training.json") for run in store.trained()]  # type: ignore[misc]
    if not records:
        raise UserError(f"{store.runs}: there are no finished runs; `cascade-rcnn study run` makes them")
    check_alike(records, store.runs)
    collect = Collector(store, resamples)
    tables = [table(collect) for table in TABLES.values()]
    tables = [table for table in tables if table.name in asked or _is_complete(table)]
    found = [figures.figure(store, name) for name in figures.FIGURES]
    found = [figure for figure in found if figure.name in asked or not figure.missing]
    sections = [table_section(table, resamples) for table in tables]
    sections += [figure_section(figure, figures.write(figure, report / "figures")) for figure in found]
    facts = _facts(records)
    runs = Grid(heads=tuple(_RUN_HEADS), rows=tuple(_run_row(record) for record in records))
    values = {
        "facts": facts,
        "runs": records,
        "tables": [asdict(t) for t in tables],
        "figures": [_named(figure) for figure in found],
    }
    write_json(report / "report.json", values)
    _write(report / "report.md", _markdown(facts, sections, runs, report))
    _write(report / "report.html", html_page(facts, sections, runs))
    return report / "report.html"


def _is_complete(table: Table) -> bool:
    return all(row.ours for row in table.rows if row.needs is not None)


def _named(figure: Figure) -> dict[str, Any]:
    drawn = figure.draw is not None
    return {"name": figure.name, "title": figure.title, "missing": figure.missing, "drawn": drawn}


def _write(path: Path, text: str) -> None:
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _facts(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What a reader must know of the figures: data, schedule, seeds, machines, dates."""
    data, settings = records[0]["data"], records[0]["settings"]
    optimizer = settings["optimizer"]
    machines = {_machine(record) for record in records}
    precisions = {record["precision"] for record in records}
    dates = sorted({record["machine"]["date"] for record in records})
    return {
        **{
            f"{name} data": "{name}: {images} images, {boxes} boxes, {classes} classes".format(**data[name])
            for name in data
        },
        "schedule": f"{settings['epochs']} epochs, batch {settings['batch_size'] * settings['accumulate']}, "
        f"{optimizer['name']}, learning rate {optimizer['lr']:g} for {optimizer['lr_batch']} images, "
        f"{optimizer['schedule']}; the last epoch's weights",
        "semantics": settings["options"]["semantics"],
        "precision": ", ".join(sorted(precisions)),
        "seeds": ", ".join(str(seed) for seed in sorted({record["seed"] for record in records})),
        "machine": "; ".join(sorted(machines)),
        "dates": dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
    }


def _machine(record: dict[str, Any]) -> str:
    machine = record["machine"]
    return f"{machine['processor']}, {machine['cores']} cores, GPU {machine['gpu']}, torch {machine['torch']}"


_RUN_HEADS = ("run", "seed", "model", "updates", "minutes", "param MiB", "date")


def _run_row(record: dict[str, Any]) -> tuple[str, ...]:
    minutes = f"{record['training_seconds'] / 60:.1f}"
    size, date = f"{record['size_mib']:.1f}", record["machine"]["date"]
    return record["title"], str(record["seed"]), record["model"], str(record["updates"]), minutes, size, date


def _markdown(facts: dict[str, str], sections: Sequence[Section], runs: Grid, folder: Path) -> str:
    parts = ["# Cascade R-CNN: the paper's tables and figures", *(f"- {name}: {text}" for name, text in facts.items())]
    for section in sections:
        parts += ["", f"## {section.title}", "", section.note]
        for caption, grid in section.grids:
            parts += ["", *([caption, ""] if caption else []), *_markdown_table(grid)]
        if section.figure is not None:
            picture = section.figure.with_suffix(".png").relative_to(folder).as_posix()
            parts += ["", f"![{section.title}]({picture})"]
        if section.missing:
            parts += ["", f"Missing: {', '.join(section.missing)}."]
    return "\n".join([*parts, "", "## The runs", "", *_markdown_table(runs), ""])


def _markdown_table(grid: Grid) -> list[str]:
    lines = [grid.heads, ("---",) * len(grid.heads), *grid.rows]
    return [f"| {' | '.join(line)} |" for line in lines]
