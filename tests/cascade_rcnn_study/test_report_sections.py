"""Tables in text form."""

import math
from dataclasses import replace

from cascade_rcnn.evaluation.bootstrap import Interval
from cascade_rcnn_study.report_sections import differences_table, metrics_table, table_section
from cascade_rcnn_study.table_rows import Row, Value
from cascade_rcnn_study.tables import Table

TABLE = Table(
    name="table9",
    title="Table 9",
    note="A note.",
    heads=("method",),
    columns=("ap", "train", "size"),
    rows=(
        Row(
            labels=("a",),
            ours={"ap": Value(20.04, 0.26, 3), "train": Value(0.5, None, 1)},
            paper={"ap": 34.9},
            needs="a",
        ),
        Row(labels=("b",), paper={"ap": 35.4, "size": 704}, needs="b"),
        Row(
            labels=("c",),
            ours={"ap": Value(1.0, None, 1)},
            needs="c",
            difference={"ap": Interval(0.0123, -0.0002, 0.03)},
        ),
        Row(labels=("d",), paper={"ap": 5.0}),
    ),
    reference="a",
)


def test_ours_beside_the_paper_s():
    assert metrics_table(TABLE).rows == (
        ("a", "ours, 3 seeds", "20.0 ± 0.3", "0.500", "-"),
        ("", "paper", "34.9", "-", "-"),
        ("b", "ours", "missing", "missing", "missing"),
        ("", "paper", "35.4", "-", "704"),
        ("c", "ours", "1.0", "-", "-"),
        ("d", "paper", "5.0", "-", "-"),
    )
    assert metrics_table(TABLE).heads == ("method", "", "AP", "train s/img", "param MiB")


def test_differences():
    grid = differences_table(TABLE)
    assert grid.heads == ("method", "AP")
    assert grid.rows == (("c", "+1.2 [0.0, +3.0]"),)


def test_a_section_says_what_is_missing_and_what_is_compared():
    section = table_section(TABLE, resamples=7)
    assert section.missing == ("b",)
    assert "Difference to a" in section.tables[1][0]
    assert "7 resamples of the validation images (of a row with one seed, without" in section.tables[1][0]


def test_too_few_images_give_differences_without_intervals():
    few = {"ours": {"ap": Value(1.0, None, 1)}, "difference": {"ap": Interval(-0.02, math.nan, math.nan)}}
    caption, table = table_section(replace(TABLE, rows=(Row(labels=("e",), needs="e", **few),)), 7).tables[1]  # type: ignore[arg-type]
    assert caption.endswith("without intervals, which take 10 validation images:")
    assert table.rows == (("e", "-2.0"),)


def test_an_interval_of_several_seeds_includes_training():
    row = Row(
        labels=("e",), needs="e", ours={"ap": Value(1.0, 0.1, 3)}, difference={"ap": Interval(0.01, 0.0, 0.02)}, pairs=2
    )
    caption, _ = table_section(replace(TABLE, rows=(row,)), resamples=7).tables[1]
    assert caption.endswith("over 7 resamples of the validation images and seeds:")
    other = replace(row, pairs=1)  # of three seeds, the reference has only one
    caption, _ = table_section(replace(TABLE, rows=(row, other)), resamples=7).tables[1]
    assert "without the randomness of training" in caption
