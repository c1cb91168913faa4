"""Validation images: the share of each class, whole groups, and classes that few images show."""

import numpy as np
import pytest

from cascade_rcnn.data.held_out import draw


def classes(*numbers: int) -> np.ndarray:
    """Return which of the classes each image shows: images of one class each, as many as given."""
    return np.repeat(np.eye(len(numbers), dtype=bool), numbers, axis=0)


def test_each_class_has_the_fraction_of_its_images():
    shown = classes(50, 20, 10)
    for seed in range(5):
        held_out = draw(shown, np.arange(80), 0.2, seed)
        assert shown[held_out].sum(axis=0).tolist() == [10, 4, 2]


def test_images_that_show_nothing_are_a_class():
    shown = np.concatenate((classes(20), np.zeros((10, 1), bool)))
    held_out = draw(shown, np.arange(30), 0.3)
    assert (held_out[:20].sum(), held_out[20:].sum()) == (6, 3)


def test_a_class_of_two_images_is_on_both_sides():
    shown = classes(96, 2, 2)
    held_out = draw(shown, np.arange(100), 0.1)
    assert shown[held_out].sum(axis=0).tolist()[1:] == [1, 1]


def test_a_class_of_one_image_is_for_training():
    shown = classes(9, 1)
    assert not any(draw(shown, np.arange(10), 0.3, seed)[9] for seed in range(5))


def test_groups_stay_whole():
    groups = np.repeat(np.arange(12), (1, 5, 2, 1, 1, 3, 2, 1, 1, 1, 1, 1))
    shown = np.random.default_rng(0).random((20, 3)) < 0.5
    held_out = draw(shown, groups, 0.25)
    assert all(len(set(held_out[groups == group].tolist())) == 1 for group in range(12))
    assert 3 <= held_out.sum() <= 7


def test_seeds_draw_other_images():
    shown = classes(100)
    first, same, other = (draw(shown, np.arange(100), 0.2, seed) for seed in (0, 0, 1))
    assert (first == same).all()
    assert (first != other).any()


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_images_of_several_classes(fraction):
    rng = np.random.default_rng(1)
    shown = rng.random((500, 6)) < [0.9, 0.5, 0.3, 0.2, 0.1, 0.02]
    held_out = draw(shown, np.arange(500), fraction)
    assert held_out.mean() == pytest.approx(fraction, abs=0.02)
    assert shown[held_out].sum(axis=0) / shown.sum(axis=0) == pytest.approx(np.full(6, fraction), abs=0.06)
