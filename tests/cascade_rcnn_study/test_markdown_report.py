"""The Markdown report."""

from cascade_rcnn_study.markdown_report import markdown_page
from cascade_rcnn_study.report_sections import Section, TextTable


def test_a_page_by_hand(tmp_path):
    table = TextTable(heads=("name", "AP"), rows=(("a", "1.0"),))
    section = Section(
        title="Table 9",
        note="A note.",
        tables=(("A caption", table),),
        figure=tmp_path / "figures/f.svg",
        missing=("b",),
    )
    assert (
        markdown_page({"data": "set"}, [section], table, tmp_path)
        == """\
# Cascade R-CNN: the paper's tables and figures

- data: set

## Table 9

A note.

A caption

| name | AP |
| --- | --- |
| a | 1.0 |

![Table 9](figures/f.png)

Missing: b.

## Training runs

| name | AP |
| --- | --- |
| a | 1.0 |
"""
    )
