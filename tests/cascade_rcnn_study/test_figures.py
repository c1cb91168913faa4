"""The files of a figure."""

from dataclasses import replace

import numpy as np
import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json, write_json
from cascade_rcnn.pages import data_uri
from cascade_rcnn_study.artifacts import ARTIFACTS
from cascade_rcnn_study.figures import FIGURES, figure, write
from cascade_rcnn_study.plots import plot_scatter
from cascade_rcnn_study.study_folder import StudyFolder


def test_the_figures_are_the_paper_s():
    assert set(FIGURES) == {name for name in ARTIFACTS if name.startswith("figure")}


def test_nothing_measured_is_numbers_without_a_picture(tmp_path):
    for name in set(FIGURES) - {"figure3"}:  # the only one that needs no measurement
        found = figure(StudyFolder(tmp_path), name)
        assert found.missing
        assert write(found, tmp_path / "figures") is None
        assert read_json(tmp_path / "figures" / f"{name}.json")["missing"] == list(found.missing)
    assert not list((tmp_path / "figures").glob("*.png"))


def test_the_scatter_is_small(finished, tmp_path):
    """However many boxes there are, the points in the SVG are rasterised."""
    found = figure(StudyFolder(finished), "figure2")
    points = np.random.default_rng(0).normal(0, 0.1, (20_000, 4)).tolist()
    stage = found.numbers["stages"][0] | {"scatter": points, "scatter_is_outlier": [False] * 20_000}
    svg = write(replace(found, plot=lambda: plot_scatter([stage])), tmp_path)
    assert svg is not None
    assert svg.stat().st_size < 1_000_000


def test_each_has_its_own_numbers_of_the_samples(finished):
    numbers = {name: figure(StudyFolder(finished), name).numbers for name in ("figure2", "figure4")}
    measured = read_json(finished / "runs" / "cascade-seed0" / "samples.json")
    assert numbers["figure4"]["edges"] == measured["edges"]
    stages = (numbers["figure2"]["stages"], numbers["figure4"]["stages"], measured["stages"])
    for two, four, both in zip(*stages, strict=True):
        assert two | four == both
        assert set(two) & set(four) == {"u"}


OUTPUT = {"image": "a.png", "size": [8, 8], "picture": "", "truth": [], "boxes": [], "scores": [], "ious": []}


def test_outputs_that_were_edited_are_refused(tmp_path):
    folder = StudyFolder(tmp_path)
    for name in ("baseline", "baseline-70"):
        write_json(folder.run(name, 0).path / "training.json", {})
    folder.run("baseline", 0).write("outputs.json", [OUTPUT])
    with pytest.raises(UserError, match=r"baseline-seed0/outputs\.json: .*the picture of a\.png is not an image"):
        figure(folder, "figure1ab")
    picture = data_uri(np.zeros((8, 8, 3), np.uint8))
    cut_off = OUTPUT | {"picture": picture[:-60]}
    folder.run("baseline", 0).write("outputs.json", [cut_off])
    with pytest.raises(UserError, match="is not an image"):
        figure(folder, "figure1ab")
    for name, image in (("baseline", "a.png"), ("baseline-70", "b.png")):
        folder.run(name, 0).write("outputs.json", [OUTPUT | {"image": image, "picture": picture}])
    with pytest.raises(UserError, match=r"baseline-70-seed\*/outputs\.json are of different images; delete these"):
        figure(folder, "figure1ab")
    folder.run("baseline", 0).write("outputs.json", [OUTPUT | {"scores": [0.5]}])
    with pytest.raises(UserError, match=r"baseline-seed0/outputs\.json: .*boxes, scores and ious differ in number"):
        figure(folder, "figure1ab")


def test_images_without_objects_are_not_drawn(tmp_path):
    run = StudyFolder(tmp_path).run("baseline", 0)
    run.write("training.json", {})
    run.write("outputs.json", [])
    found = figure(StudyFolder(tmp_path), "figure1ab")
    assert found.plot is None
    assert found.missing == ("baseline: outputs", "baseline-70: outputs")
