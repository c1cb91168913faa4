"""The test of a few images before a long run."""

from dataclasses import replace

import numpy as np
import pytest

from cascade_rcnn import Dataset, load_annotations
from cascade_rcnn.engine.training import overfit
from cascade_rcnn.engine.training.data import Sources
from cascade_rcnn.engine.training.overfit import OverfitTest, overfit_test


def outcome(*losses: float) -> OverfitTest:
    return OverfitTest(images=8, updates=2 * len(losses), seconds=19.6, losses=losses)


@pytest.mark.parametrize(
    ("losses", "passed", "words"),
    [
        ((2.5, 2.0, 1.0), True, "yes (loss 2.5 to 1 on 8 images in 6 updates, 20 s)"),
        ((2.5, 2.0, 2.25), False, "no (loss 2.5 to 2.25 on 8 images in 6 updates, 20 s)"),
        ((2.5, float("nan"), float("nan")), False, "no (loss 2.5 to nan"),
        ((2.5, 0.1), None, "unknown (4 updates took 20 s)"),
    ],
)
def test_the_last_pass_is_compared_with_the_first(losses, passed, words):
    found = outcome(*losses)
    assert found.passed is passed
    assert str(found).startswith(f"it can overfit: {words}")


@pytest.fixture
def few_seconds(monkeypatch):
    monkeypatch.setattr(overfit, "_SECONDS", 0.6)


@pytest.mark.usefixtures("few_seconds")
def test_a_model_learns_the_first_images_with_objects(recipe):
    few = replace(recipe, optimizer=replace(recipe.optimizer, lr=2e-3), workers=0)
    found = overfit_test(few)
    assert found is not None
    assert found.images == 8
    assert found.updates == len(found.losses) * 4  # batches of 2
    assert found.seconds >= 0.6
    assert found.losses[-1] < found.losses[0]
    assert overfit_test(few, shortest=14) is None  # two epochs of 13 images: 13 updates
    assert overfit_test(replace(few, epochs=3), shortest=19) is not None


@pytest.mark.usefixtures("few_seconds")
def test_a_dataset_of_the_user_is_tested_too(recipe, shapes):
    annotations = load_annotations(shapes / "train.json")
    found = overfit_test(replace(recipe, workers=0), Sources(train=Dataset(annotations)))
    assert found is not None
    assert found.images == 8


def test_images_without_objects_are_passed_over(shapes):
    annotations = load_annotations(shapes / "train.json")
    with_objects = np.flatnonzero(annotations.first.diff().numpy() > 0)
    chosen = overfit._few(annotations, 3)
    assert chosen.image_ids.tolist() == annotations.image_ids[with_objects[:3]].tolist()
