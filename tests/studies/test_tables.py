"""The rows of the paper's tables, ours and theirs."""

import math
import shutil

import pytest

from cascade_rcnn.studies.runs import TABLE3
from cascade_rcnn.studies.store import Store
from cascade_rcnn.studies.tables import BASELINE, CASCADE, TABLES, Collector, Source

ROWS = {"table1": 4, "table2": 6, "table3": 4, "table4": 5, "table5": 13, "table6": 12}


@pytest.fixture(scope="module")
def tables(finished):
    collect = Collector(Store(finished), resamples=5)
    return {name: table(collect) for name, table in TABLES.items()}


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_there_with_finite_numbers(name, tables):
    table = tables[name]
    assert len(table.rows) == ROWS[name]
    for row in table.rows:
        assert len(row.labels) == len(table.heads)
        assert row.ours or row.paper
        assert bool(row.ours) == (row.needs is not None)
        assert all(math.isfinite(value.mean) for value in row.ours.values())
        assert set(row.ours) | set(row.paper) <= set(table.columns)
        assert all(math.isfinite(x) and d.low <= d.high for d in row.difference.values() for x in d)
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


def test_one_training_is_the_same_in_every_table(tables):
    rows = [tables["table1"].rows[3], tables["table2"].rows[4], tables["table4"].rows[2]]
    assert len({row.ours["ap"] for row in rows}) == 1
    assert tables["table6"].rows[1].ours["ap"] == rows[0].ours["ap"]


def test_the_rows_of_table_3_are_trained_alike(finished, tables, tmp_path):
    """By SGD here, the last of them by itself; where all were trained as the cascade was, that is the last."""
    assert [row.needs for row in tables["table3"].rows] == list(TABLE3)
    assert "AdamW" not in tables["table3"].note
    store = Store(tmp_path)
    for name in (*[*TABLE3][:3], "cascade"):
        shutil.copytree(finished / "runs" / f"{name}-seed0", tmp_path / "runs" / f"{name}-seed0")
    assert [row.needs for row in TABLES["table3"](Collector(store, 2)).rows] == list(TABLE3)  # the last is missing
    for name in [*TABLE3][:3]:
        run = store.run(name, 0)
        record = run.read("training.json")
        record["settings"]["optimizer"] = store.run("cascade", 0).read("training.json")["settings"]["optimizer"]
        run.write("training.json", record)
    found = TABLES["table3"](Collector(store, 2))
    assert found.rows[3].needs == "cascade"
    assert found.rows[3].ours["ap"].mean == 100 * store.run("cascade", 0).metrics("stages1-3").ap
    assert "by AdamW" in found.note


def test_seeds_give_mean_and_deviation(finished, tables):
    store = Store(finished)
    aps = [store.run("cascade", seed).metrics("stages1-3").ap for seed in (0, 1)]
    value = tables["table1"].rows[3].ours["ap"]
    assert value.seeds == 2
    assert value.mean == pytest.approx(50 * sum(aps))
    assert value.std == pytest.approx(100 * abs(aps[0] - aps[1]) / math.sqrt(2))
    assert tables["table1"].rows[2].ours["ap"].std is None  # integral: one seed


def test_a_difference_is_of_the_seeds_both_have(finished, tables):
    store = Store(finished)
    expected = store.run("integral", 0).metrics("default").ap - store.run("baseline", 0).metrics("default").ap
    assert tables["table1"].rows[2].difference["ap"].mean == pytest.approx(expected, abs=1e-9)


def test_what_has_not_been_run_is_missing(finished, tmp_path):
    shutil.copytree(finished / "runs" / "baseline-seed0", tmp_path / "runs" / "baseline-seed0")
    collect = Collector(Store(tmp_path), resamples=2)
    row = collect.row(["x"], CASCADE, {"ap": 1.0}, ("ap",), BASELINE)
    assert (row.ours, row.difference, row.needs) == ({}, {}, "cascade")
    assert collect.row(["x"], BASELINE, {}, ("ap", "size"), BASELINE).ours.keys() == {"ap", "size"}
    assert collect.row(["x"], Source("baseline", "stage7"), {}, ("ap",)).ours == {}
    assert len(TABLES["table6"](collect).rows) == ROWS["table6"]
