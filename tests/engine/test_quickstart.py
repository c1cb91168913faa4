"""The quickstart, on a handful of images: what it writes, how long it decides to train, how it goes on."""

from dataclasses import replace
from pathlib import Path

import pytest

from cascade_rcnn.engine import quickstart
from cascade_rcnn.files import read_json
from cascade_rcnn.recipes import Recipe


@pytest.fixture
def small(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setitem(quickstart.RECIPES, "quickstart", lambda: recipe)
    monkeypatch.setattr(quickstart, "_TRAIN", 4)
    monkeypatch.setattr(quickstart, "_VAL", 3)
    monkeypatch.setattr(quickstart, "IMAGE_SIZE", 64)
    return recipe


def test_data_training_curve_and_pictures(small: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "quick"
    metrics = quickstart.run(output, epochs=1)
    assert 0 <= metrics.ap <= 1
    assert read_json(output / "recipe.json")["epochs"] == 1
    assert len(list((output / "found" / "pictures").iterdir())) == 3
    assert (output / "curve.png").stat().st_size > 0
    said = capsys.readouterr().out
    assert "for 1 epochs" in said
    assert f"cascade-rcnn predict --checkpoint {output}/best.safetensors" in said


@pytest.mark.parametrize(("seconds", "epochs"), [(100.0, 3), (20.0, 6), (1e-3, 12)])
def test_as_many_epochs_as_fit(small: Recipe, monkeypatch: pytest.MonkeyPatch, seconds: float, epochs: int):
    """Two updates an epoch in 270 seconds; at least three epochs, at most the recipe's twelve."""
    monkeypatch.setattr(quickstart, "seconds_per_update", lambda run: seconds)
    wanted = replace(small, epochs=12, batch_size=6)  # 13 images: two whole batches
    assert quickstart._affordable(wanted) == epochs


def test_the_same_command_again_keeps_its_epochs(small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    output = tmp_path / "quick"
    first = quickstart.run(output, epochs=1)
    monkeypatch.setattr(quickstart, "_affordable", lambda recipe: pytest.fail("timed again"))
    assert quickstart.run(output).ap == first.ap
