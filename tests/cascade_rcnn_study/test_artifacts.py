"""The variants and measurements that the tables and figures need."""

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.recipes import RECIPES
from cascade_rcnn_study.artifacts import ARTIFACTS, MASK_TABLE, choose, measurements, needed
from cascade_rcnn_study.variants import BY_SGD, TABLE3, variants

SMALL = RECIPES["small"]()


def test_every_table_and_figure_of_the_paper_is_there():
    papers = {*(f"table{k}" for k in range(1, 7)), *(f"figure{k}" for k in range(1, 8)), "figure1ab"}
    assert set(ARTIFACTS) == papers | {MASK_TABLE}
    known = variants(SMALL)
    assert {name for artifact in ARTIFACTS.values() for name in artifact.variants} == set(known)


def test_all_is_everything_once_in_the_paper_s_order():
    assert [a.name for a in choose(["table2", "all", "table1"])] == [name for name in ARTIFACTS if name != MASK_TABLE]
    assert [a.name for a in choose(["all", MASK_TABLE])] == list(ARTIFACTS)
    assert [a.name for a in choose(["figure4", "table2"])] == ["table2", "figure4"]


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="did you mean 'table1'"):
        choose(["tabel1"])
    with pytest.raises(UserError, match="give the tables and figures to run"):
        choose([])


def test_tables_are_over_every_seed_and_figures_show_the_first():
    assert {a.name for a in ARTIFACTS.values() if a.every_seed} == {MASK_TABLE, *(f"table{k}" for k in range(1, 7))}


def test_table_3_ends_with_the_base_s_own_cascade_where_that_is_trained_with_sgd():
    assert needed(ARTIFACTS["table3"], variants(SMALL)) == tuple(TABLE3)
    by_sgd = variants(RECIPES["paper_ablation"]())
    assert BY_SGD not in by_sgd
    assert needed(ARTIFACTS["table3"], by_sgd) == ("cascade-plain", "cascade-iou-up", "cascade-stat", "cascade")


def test_measurements_are_those_that_are_asked_for():
    known = variants(SMALL)
    single, cascade = known["baseline-60"], known["cascade"]
    assert measurements(single, {"figure1", "figure5"}) == [
        "default",
        "with-truth",
        "on-cascade-inputs2",
        "localization",
    ]
    assert measurements(single, {"figure1"}) == ["default", "localization"]
    assert measurements(cascade, {"table1"}) == ["stages1-3", "stage1", "stage2", "stage3", "stages1-2"]
    assert "speed" in measurements(cascade, {"table6"})
    assert "samples" in measurements(cascade, {"figure2"})
    assert "stage1-on-inputs2" in measurements(cascade, {"figure6"})
