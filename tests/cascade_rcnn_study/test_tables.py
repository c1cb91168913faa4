"""The tables of the paper, filled with our results."""

import math
import shutil
from dataclasses import replace

import pytest

from cascade_rcnn_study.artifacts import MASK_TABLE
from cascade_rcnn_study.report_sections import metrics_table
from cascade_rcnn_study.study_folder import StudyFolder
from cascade_rcnn_study.tables import TABLES, RowBuilder
from cascade_rcnn_study.variants import MASKS, TABLE3

ROWS = {"table1": 4, "table2": 6, "table3": 4, "table4": 5, "table5": 13, "table6": 12}


@pytest.fixture(scope="module")
def tables(finished):
    rows = RowBuilder(StudyFolder(finished), resamples=5)
    return {name: table(rows) for name, table in TABLES.items() if name != MASK_TABLE}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_there_with_finite_numbers(name, tables):
    table = tables[name]
    assert len(table.rows) == ROWS[name]
    for row in table.rows:
        assert len(row.labels) == len(table.heads)
        assert row.ours or row.paper
        assert bool(row.ours) == (row.needs is not None)
        assert all(math.isfinite(value.mean) for value in row.ours.values())
        assert set(row.ours) | set(row.paper) <= set(table.columns)
        assert all(math.isfinite(d.mean) and math.isnan(d.low) for d in row.difference.values())  # of three images
    compared = [bool(row.difference) for row in table.rows if row.ours]
    assert sum(compared) == {"table5": 0, "table6": 1}.get(name, len(compared) - 1)


def test_the_paper_s_rows_are_in_its_order(tables):
    assert [row.paper["ap"] for row in tables["table1"].rows] == [34.9, 35.4, 35.4, 38.9]
    assert [row.paper["ap90"] for row in tables["table3"].rows] == [10.7, 13.1, 13.1, 15.8]
    assert [row.paper["ap"] for row in tables["table4"].rows] == [34.9, 38.2, 38.9, 38.9, 38.6]
    assert [row.labels for row in tables["table2"].rows] == [("1",), ("2",), ("3",), ("1~2",), ("1~3",), ("baseline",)]
    assert tables["table6"].rows[-1].paper == {
        "train": 0.41,
        "test": 0.14,
        "size": 345,
        "ap": 42.7,
        "ap50": 61.6,
        "ap75": 46.6,
        "ap_small": 23.8,
        "ap_medium": 46.2,
        "ap_large": 57.4,
    }


def test_a_run_has_the_same_metrics_in_every_table(tables):
    rows = [tables["table1"].rows[3], tables["table2"].rows[4], tables["table4"].rows[2]]
    assert len({row.ours["ap"] for row in rows}) == 1
    assert tables["table6"].rows[1].ours["ap"] == rows[0].ours["ap"]


def test_the_rows_of_table_3_share_their_optimizer(finished, tables, tmp_path):
    """Here they are trained with SGD, and the last row is missing until it has a run of its own; if all were trained
    like the study's cascade, that cascade would be the last row.
    """
    assert [row.needs for row in tables["table3"].rows] == list(TABLE3)
    assert tables["table3"].note.endswith("These rows were trained with SGD, learning rate 0.02 for 16 images.")
    folder = StudyFolder(tmp_path)
    for name in (*[*TABLE3][:3], "cascade"):
        shutil.copytree(finished / "runs" / f"{name}-seed0", tmp_path / "runs" / f"{name}-seed0")
    assert [row.needs for row in TABLES["table3"](RowBuilder(folder, 2)).rows] == list(TABLE3)  # the last is missing
    for name in [*TABLE3][:3]:
        run = folder.run(name, 0)
        record = run.read("training.json")
        record["settings"]["optimizer"] = folder.run("cascade", 0).read("training.json")["settings"]["optimizer"]
        run.write("training.json", record)
    found = TABLES["table3"](RowBuilder(folder, 2))
    assert found.rows[3].needs == "cascade"
    assert found.rows[3].ours["ap"].mean == 100 * folder.run("cascade", 0).metrics("stages1-3").ap
    assert "with AdamW" in found.note


def test_table_6_has_a_row_for_each_model_that_is_missing(tmp_path):
    rows = TABLES["table6"](RowBuilder(StudyFolder(tmp_path), resamples=2)).rows
    assert len(rows) == ROWS["table6"]
    assert [row.needs for row in rows[:3]] == ["baseline", "cascade", None]


def test_the_table_of_masks_has_both_kinds_of_ap(finished, tmp_path):
    """The rows come from the runs of two models that have masks; the other rows are missing."""
    folder = StudyFolder(tmp_path)
    for stages in (1, 3):
        run = folder.run(MASKS[stages], 0)
        source = finished / "runs" / "cascade-seed0"
        shutil.copytree(source, run.path, ignore=shutil.ignore_patterns("training"))
        boxes = run.metrics("stages1-3")
        found = replace(boxes, ap=0.5, masks=replace(boxes, ap=stages / 10, ap50=0.25, ap75=0.125))
        run.write_metrics(f"stages1-{stages}", found)
        if stages == 1:
            shutil.copy(run.detections("stages1-3"), run.detections("stages1-1"))
    table = TABLES[MASK_TABLE](RowBuilder(folder, 2))
    assert [row.labels for row in table.rows] == [("1",), ("2",), ("3",), ("4",)]
    assert [row.needs for row in table.rows] == list(MASKS.values())
    assert [bool(row.ours) for row in table.rows] == [True, False, True, False]
    shown = {name: value.mean for name, value in table.rows[2].ours.items()}
    masks = {name: shown[name] for name in ("ap", "masks_ap", "masks_ap50", "masks_ap75")}
    assert masks == pytest.approx({"ap": 50.0, "masks_ap": 30.0, "masks_ap50": 25.0, "masks_ap75": 12.5})
    assert set(table.rows[2].difference) == {"ap", "ap50", "ap75"}  # for boxes only: masks are not resampled
    assert metrics_table(table).heads[-3:] == ("mask AP", "mask AP50", "mask AP75")
    run = folder.run(MASKS[3], 0)
    run.write_metrics("stages1-3", replace(run.metrics("stages1-3"), masks=None))
    assert "masks_ap" not in TABLES[MASK_TABLE](RowBuilder(folder, 2)).rows[2].ours
