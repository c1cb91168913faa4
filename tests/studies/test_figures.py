"""A figure's files."""

from cascade_rcnn.files import read_json
from cascade_rcnn.studies.figures import FIGURES, render
from cascade_rcnn.studies.runs import ARTIFACTS
from cascade_rcnn.studies.store import Store


def test_the_figures_are_the_paper_s():
    assert set(FIGURES) == {name for name in ARTIFACTS if name.startswith("figure")}


def test_nothing_measured_is_numbers_without_a_picture(tmp_path):
    for name in FIGURES:
        drawn = render(Store(tmp_path), name, tmp_path / "figures")
        assert drawn.svg is None
        assert drawn.missing
        assert read_json(tmp_path / "figures" / f"{name}.json")["missing"] == list(drawn.missing)
    assert not list((tmp_path / "figures").glob("*.png"))


def test_the_scatter_is_small(finished, tmp_path):
    drawn = render(Store(finished), "figure2", tmp_path)
    assert drawn.svg is not None
    assert drawn.svg.stat().st_size < 1_000_000
    stages = read_json(tmp_path / "figure2.json")["stages"]
    assert [len(stage["scatter"]) <= 2000 for stage in stages] == [True] * 3


def test_each_has_its_own_numbers_of_the_samples(finished, tmp_path):
    numbers = {}
    for name in ("figure2", "figure4"):
        render(Store(finished), name, tmp_path)
        numbers[name] = read_json(tmp_path / f"{name}.json")
    measured = read_json(finished / "runs" / "cascade-seed0" / "samples.json")
    assert numbers["figure4"]["edges"] == measured["edges"]
    stages = (numbers["figure2"]["stages"], numbers["figure4"]["stages"], measured["stages"])
    for two, four, both in zip(*stages, strict=True):
        assert two | four == both
        assert set(two) & set(four) == {"u"}
