"""The time per image."""

from dataclasses import replace

from cascade_rcnn.data import load_annotations
from cascade_rcnn_study.timing import detection_seconds_per_image, training_seconds_per_image


def test_detection_takes_time(base, untrained):
    assert 0 < detection_seconds_per_image(untrained, load_annotations(base.data.val)) < 60


def test_training_takes_time_and_writes_nothing_to_its_output(base, tmp_path):
    recipe = replace(base, output=str(tmp_path / "run"))
    assert 0 < training_seconds_per_image(recipe) < 60
    assert not list(tmp_path.iterdir())
