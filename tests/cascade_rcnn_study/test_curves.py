"""The curves in the figures."""

import pytest

from cascade_rcnn.files import write_json
from cascade_rcnn_study.curves import figure1, figure5, figure6, figure7
from cascade_rcnn_study.study_folder import StudyFolder


@pytest.mark.parametrize(
    ("figure", "numbers"), [(figure1, [3, 3]), (figure5, [5, 3]), (figure6, [3, 3, 3]), (figure7, [6, 4])]
)
def test_a_figure_has_the_paper_s_curves(figure, numbers, finished, tmp_path):
    panels = figure(StudyFolder(finished))
    assert [len(panel.curves) for panel in panels] == numbers
    assert all(curve.missing is None for panel in panels for curve in panel.curves)
    empty = figure(StudyFolder(tmp_path))
    assert [len(panel.curves) for panel in empty] == numbers
    assert all(curve.missing for panel in empty for curve in panel.curves)


def test_figure_6_has_each_stage_on_its_own_inputs(finished):
    store = StudyFolder(finished)
    for stage, panel in enumerate(figure6(store), start=1):
        own = [100 * x for x in store.run("cascade", 0).metrics(f"stage{stage}").precision_by_iou]
        assert list(panel.curves[stage - 1].y) == pytest.approx(own, abs=1e-3)


def test_figure_5_dashed_is_of_the_matching_stage(finished):
    curves = figure5(StudyFolder(finished))[0].curves
    assert [curve.dashed for curve in curves] == [False, False, False, True, True]
    assert curves[3].label.startswith("u = .6, stage 2's")
    assert curves[4].label.startswith("u = .7, stage 3's")
    assert curves[3].look == curves[1].look


def test_a_figure_shows_the_first_seed_that_has_been_measured(finished, tmp_path):
    for seed in (0, 1):
        StudyFolder(tmp_path).run("cascade", seed).write("training.json", {})
    metrics = StudyFolder(finished).run("cascade", 0).read("metrics/stage1.json")
    StudyFolder(tmp_path).run("cascade", 1).write("metrics/stage1.json", metrics)
    curve = figure6(StudyFolder(tmp_path))[0].curves[0]
    assert curve.missing is None
    assert list(curve.y) == pytest.approx([100 * x for x in metrics["precision_by_iou"]], abs=1e-3)


def test_localization_leaves_thin_bins_out(tmp_path):
    run = StudyFolder(tmp_path).run("baseline", 0)
    run.write("training.json", {})
    mean = [[0.52, 0.57, None], [0.7, 0.6, None], [0.8, 0.65, None]]
    write_json(run.path / "localization.json", {"edges": [], "count": [12, 9, 0], "mean": mean})
    curve = figure1(StudyFolder(tmp_path))[0].curves[0]
    assert (list(curve.x), list(curve.y)) == ([0.52], [0.7])
    iterated = figure7(StudyFolder(tmp_path))[0].curves[4]
    assert (iterated.label, list(iterated.y)) == ("iterative, 2nd iteration", [0.8])
    assert figure7(StudyFolder(tmp_path))[0].curves[5].missing == "baseline: localization"
