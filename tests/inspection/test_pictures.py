"""Pictures of records: which part of an image they show, and where its boxes appear."""

import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.inspection.findings import Record
from cascade_rcnn.inspection.pictures import LONGEST, Marked, picture, picture_of

RED = (255, 45, 85)


@pytest.fixture
def photo(tmp_path):
    """Return a grey image of 1600 x 800 pixels."""
    PIL.Image.new("RGB", (1600, 800), (90, 90, 90)).save(tmp_path / "photo.jpg")
    return str(tmp_path / "photo.jpg")


def extent(image, color):
    """Return left, top, right and bottom of the coloured pixels."""
    rows, columns = np.nonzero((np.asarray(image) == color).all(axis=2))
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_a_whole_image_is_reduced_with_its_boxes(photo):
    image = picture(photo, [Marked((400, 200, 800, 400), "#ff2d55")])
    assert image.size == (LONGEST, LONGEST // 2)
    assert extent(image, RED) == pytest.approx((100, 50, 300, 150), abs=1.5)


def test_a_small_box_is_shown_with_its_surroundings(photo):
    """Five times the box's side across, and three quarters of that down: 200 x 150 pixels around its centre."""
    box = (780, 380, 40, 40)
    image = picture(photo, [Marked(box, "#ff2d55")], box)
    assert image.size == (400, 300)
    assert extent(image, RED) == pytest.approx((160, 110, 240, 190), abs=1.5)


def test_a_small_box_in_a_corner_stays_in_the_picture(photo):
    box = (1590, 790, 10, 10)
    image = picture(photo, [Marked(box, "#ff2d55")], box)
    left, top, right, bottom = extent(image, RED)
    assert (right, bottom) == pytest.approx((400, 300), abs=2)
    assert left > 340
    assert top > 240


def test_a_box_without_a_width_is_circled(photo):
    """Its own frame would be a black line; the image is shown at a quarter of its size."""
    image = picture(photo, [Marked((800, 200, 0, 400), "#ff2d55", True)])
    assert extent(image, RED) == pytest.approx((191, 41, 209, 159), abs=1.5)


def test_a_turned_image_is_drawn_upright(tmp_path):
    """Stored as 800 x 400 with a quarter turn: displayed as 400 x 800, with a white top half."""
    upright = PIL.Image.new("RGB", (400, 800), "black")
    upright.paste("white", (0, 0, 400, 400))
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    upright.transpose(PIL.Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif.tobytes())
    image = picture(str(tmp_path / "turned.jpg"), [Marked((0, 400, 400, 400), "#ff2d55")])
    assert image.size == (200, 400)
    assert extent(image, RED)[1] == pytest.approx(200, abs=1.5)
    assert np.asarray(image)[100, 100].min() > 240


def test_a_pair_is_shown_side_by_side(photo):
    other = Record(split="train", path=photo, image_id=1)
    image = picture_of(Record(split="val", path=photo, image_id=2, other=other), [(0, 0, 100, 100)])
    assert image is not None
    assert image.size == (2 * LONGEST + 6, LONGEST // 2)


def test_files_that_cannot_be_read_have_no_picture(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"bad\.jpg"):
        picture(str(tmp_path / "bad.jpg"), [])
    assert picture_of(Record(split="val", path=str(tmp_path / "bad.jpg")), []) is None
