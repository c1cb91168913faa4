import pytest

from cascade_rcnn.data.rotated import degrees, rotation_note, upright


@pytest.mark.parametrize("angle", [0, 180, 360, -180])
def test_half_turns_change_nothing(angle):
    assert upright((1, 2, 10, 12), angle) == (1, 2, 10, 12)


def test_quarter_turns_swap_the_sides():
    assert upright((10, 20, 30, 10), 270) == (20, 10, 10, 30)


@pytest.mark.parametrize("angle", [45, 135, -45])
def test_the_box_encloses_the_corners(angle):
    assert upright((0, 0, 20, 20), angle) == pytest.approx((10 - 200**0.5, 10 - 200**0.5, 800**0.5, 800**0.5))


@pytest.mark.parametrize(("angle", "value"), [("12.5", 12.5), (None, 0), ("left", 0), (float("nan"), 0), ([], 0)])
def test_angles_as_files_have_them(angle, value):
    assert degrees(angle) == value


def test_the_note_counts_them():
    assert rotation_note(0, 3) == []
    assert rotation_note(2, 3) == ["2 of 3 boxes are rotated (CVAT); the upright boxes around them are used"]
