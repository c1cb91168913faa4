"""The report in Markdown, with links to its figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cascade_rcnn_study.report_sections import Section, TextTable


def markdown_page(facts: Mapping[str, str], sections: Sequence[Section], runs: TextTable, folder: Path) -> str:
    """Return the page to write to `folder`."""
    parts = [
        "# Cascade R-CNN: the paper's tables and figures",
        "",
        *(f"- {name}: {text}" for name, text in facts.items()),
    ]
    for section in sections:
        parts += ["", f"## {section.title}", "", section.note]
        for caption, table in section.tables:
            parts += ["", *([caption, ""] if caption else []), *_table(table)]
        if section.figure is not None:
            picture = section.figure.with_suffix(".png").relative_to(folder).as_posix()
            parts += ["", f"![{section.title}]({picture})"]
        if section.missing:
            parts += ["", f"Missing: {', '.join(section.missing)}."]
    return "\n".join([*parts, "", "## Training runs", "", *_table(runs), ""])


def _table(table: TextTable) -> list[str]:
    lines = [table.heads, ("---",) * len(table.heads), *table.rows]
    return [f"| {' | '.join(line)} |" for line in lines]
