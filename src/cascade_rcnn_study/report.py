"""Render the report of a study from its runs: report.md, report.json and report.html, with figures/ next to them.

Nothing is trained or measured; whatever the runs do not contain is marked as missing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.bootstrap import RESAMPLES
from cascade_rcnn.evaluation.metrics import nan_to_none
from cascade_rcnn.files import write_json, write_text
from cascade_rcnn.outputs import check_outputs
from cascade_rcnn.text import count
from cascade_rcnn_study import figures
from cascade_rcnn_study.comparability import check_comparable
from cascade_rcnn_study.figures import Figure
from cascade_rcnn_study.html_report import html_page
from cascade_rcnn_study.markdown_report import markdown_page
from cascade_rcnn_study.report_sections import TextTable, figure_section, table_section
from cascade_rcnn_study.study_folder import StudyFolder
from cascade_rcnn_study.table_rows import RowBuilder
from cascade_rcnn_study.tables import TABLES, Table
from cascade_rcnn_study.training_record import Record, read_records


def render(output: Path, asked: Iterable[str] = (), resamples: int = RESAMPLES) -> Path:
    """Write OUTPUT/report with the requested tables and figures and all complete ones; return the HTML page.

    Raises UserError if there are no runs, or runs that cannot be compared.
    """
    check_report(output)
    folder, asked, report = StudyFolder(output), set(asked), output / "report"
    records = read_records(folder)
    if not records:
        raise UserError(f"{folder.runs}: no finished runs; run `cascade-rcnn study run` first")
    check_comparable(records, folder.runs)
    rows = RowBuilder(folder, resamples)
    tables = [table(rows) for table in TABLES.values()]
    tables = [table for table in tables if table.name in asked or _is_complete(table)]
    found = [figures.figure(folder, name) for name in figures.FIGURES]
    found = [figure for figure in found if figure.name in asked or not figure.missing]
    sections = [table_section(table, resamples) for table in tables]
    sections += [figure_section(figure, figures.write(figure, report / "figures")) for figure in found]
    facts, runs = _facts(records), _runs(records)
    values = {
        "facts": facts,
        "runs": records,
        "tables": [asdict(table) for table in tables],
        "figures": [_summary(figure) for figure in found],
    }
    write_json(report / "report.json", nan_to_none(values))
    write_text(report / "report.md", markdown_page(facts, sections, runs, report))
    write_text(report / "report.html", html_page(facts, sections, runs))
    return report / "report.html"


def check_report(output: Path) -> None:
    """Raise UserError if OUTPUT/report cannot be written."""
    check_outputs(output / "report" / name for name in ("report.json", "report.md", "report.html"))


def _is_complete(table: Table) -> bool:
    return all(row.ours for row in table.rows if row.needs is not None)


def _summary(figure: Figure) -> dict[str, Any]:
    drawn = figure.plot is not None
    return {"name": figure.name, "title": figure.title, "missing": figure.missing, "drawn": drawn}


def _facts(records: Sequence[Record]) -> dict[str, str]:
    """Describe what all runs share (data, schedule, semantics), and list their seeds, machines and dates."""
    data, settings = records[0]["data"], records[0]["settings"]
    dates = sorted({record["machine"]["date"] for record in records})
    return {
        "training set": _data_set(data["train"]),
        "validation set": _data_set(data["val"]),
        "schedule": _schedule(settings),
        "semantics": settings["options"]["semantics"],
        "precision": ", ".join(sorted({record["precision"] for record in records})),
        "seeds": ", ".join(str(seed) for seed in sorted({record["seed"] for record in records})),
        "machine": "; ".join(sorted({_machine(record) for record in records})),
        "dates": dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
    }


def _data_set(data: Record) -> str:
    sizes = (count(data["images"], "image"), count(data["boxes"], "box"), count(data["classes"], "class"))
    return f"{data['name']}: {', '.join(sizes)}"


def _schedule(settings: Record) -> str:
    optimizer = settings["optimizer"]
    return (
        f"{count(settings['epochs'], 'epoch')}, batch size {settings['batch_size'] * settings['accumulate']}, "
        f"{optimizer['name']}, learning rate {optimizer['lr']:g} for {count(optimizer['lr_batch'], 'image')}, "
        f"{optimizer['schedule']}; weights of the last epoch"
    )


def _machine(record: Record) -> str:
    machine = record["machine"]
    gpu = "no GPU" if machine["gpu"] == "none" else machine["gpu"]
    return f"{machine['processor']}, {count(machine['cores'], 'core')}, {gpu}, torch {machine['torch']}"


def _runs(records: Sequence[Record]) -> TextTable:
    rows = tuple(
        (
            record["title"],
            str(record["seed"]),
            record["model"],
            str(record["updates"]),
            f"{record['training_seconds'] / 60:.1f}",
            f"{record['size_mib']:.1f}",
            record["machine"]["date"],
        )
        for record in records
    )
    return TextTable(heads=("run", "seed", "model", "updates", "minutes", "param MiB", "date"), rows=rows)
