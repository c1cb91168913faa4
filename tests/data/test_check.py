import math
import os

import numpy as np
import PIL.Image
import pytest

from cascade_rcnn.data.check import check_images
from cascade_rcnn.data.coco import load_coco
from cascade_rcnn.errors import UserError


@pytest.fixture
def five(make_annotations, tmp_path, write_image):
    """Write five files: 0 is good, 1 missing, 2 truncated, 3 of another size, 4 a pipe."""
    write_image(tmp_path / "0.png", 40, 30)
    write_image(tmp_path / "2.png", 40, 30)
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:-30])
    write_image(tmp_path / "3.png", 30, 40)
    os.mkfifo(tmp_path / "4.png")
    return make_annotations([(30, 40)] * 5, [[(1, 2, 3, 4)], [(5, 6, 7, 8)], [], [(1, 1, 1, 1), (2, 2, 2, 2)], []])


def test_all_problems_are_reported_together(five, one_line):
    with pytest.raises(UserError) as caught:
        check_images(five)
    one_line(
        caught,
        "made: 4 of 5 images cannot be used: 1 is missing",
        "1.png",
        "2.png: cannot open this image",
        "3.png: the image is 30 x 40 when upright, but annotated as 40 x 30",
        "4.png: this is a pipe",
        "bad-images skip",
    )


def test_or_left_out_with_their_boxes(five):
    kept = check_images(five, bad_images="skip")
    assert list(kept.file_names) == ["0.png"]
    assert kept.image_ids.tolist() == [100]
    assert kept.boxes.tolist() == [[1, 2, 3, 4]]
    assert kept.first.tolist() == [0, 1]
    assert "4 of 5 images cannot be used" in kept.notes[-1]
    assert kept.notes[-1].endswith("they are skipped")


def test_damage_within_a_file_shows_only_when_it_is_decoded(make_annotations, tmp_path, write_image):
    for name in ("0.png", "1.png"):
        write_image(tmp_path / name, 40, 30)
    whole = (tmp_path / "1.png").read_bytes()
    at = whole.index(b"IDAT") + 12
    (tmp_path / "1.png").write_bytes(whole[:at] + bytes(8) + whole[at + 8 :])
    both = make_annotations([(30, 40)] * 2)
    assert len(check_images(both, bad_images="skip")) == 2
    kept = check_images(both, bad_images="skip", decode=True)
    assert list(kept.file_names) == ["0.png"]
    assert "1.png: cannot open this image" in kept.notes[-1]


def test_nothing_left_is_an_error_even_then(make_annotations, one_line):
    with pytest.raises(UserError) as caught:
        check_images(make_annotations([(3, 4)] * 2), bad_images="skip")
    one_line(caught, "2 of 2 images cannot be used: 2 are missing", "give the correct images folder")


def test_a_missing_image_may_have_been_converted(make_annotations, tmp_path, write_image, one_line):
    for name in ("0.jpg", "01.png"):
        write_image(tmp_path / name, 4, 3)
    with pytest.raises(UserError) as caught:
        check_images(make_annotations([(3, 4)] * 2))
    one_line(caught, f"2 are missing (first: {tmp_path / '0.png'}; 0.jpg is there)")


def test_more_than_a_few_are_counted(make_annotations, tmp_path, one_line):
    for i in range(9):
        (tmp_path / f"{i}.png").write_text("text")
    with pytest.raises(UserError) as caught:
        check_images(make_annotations([(3, 4)] * 9))
    one_line(caught, "9 of 9", "4.png: ", "and 4 more")
    assert "5.png" not in str(caught.value)


def test_the_limit_of_pixels_is_a_setting(make_annotations, tmp_path, write_image):
    write_image(tmp_path / "0.png", 200, 100)
    annotations = make_annotations([(100, 200)])
    check_images(annotations, max_megapixels=0.02)
    with pytest.raises(UserError, match="max_megapixels is nan; give 0 or more"):
        check_images(annotations, max_megapixels=math.nan)
    with pytest.raises(UserError, match=r"more than 0\.019 megapixels"):
        check_images(annotations, max_megapixels=0.019)


def test_deep_and_large_images_are_mentioned(make_annotations, tmp_path):
    PIL.Image.fromarray(np.full((3, 4), 9, np.uint16)).save(tmp_path / "0.png")
    PIL.Image.new("1", (10000, 9000)).save(tmp_path / "1.png")
    notes = check_images(make_annotations([(3, 4), (9000, 10000)])).notes
    assert any("1 of 2 images are greyscale with more than 8 bits; 0..65535" in note for note in notes)
    assert any("1 of 2 images have more than 89 megapixels (largest: 90)" in note for note in notes)


def test_pages_that_are_not_read_are_mentioned(make_annotations, tmp_path):
    page = PIL.Image.new("RGB", (8, 6))
    page.save(tmp_path / "0.png", "TIFF", save_all=True, append_images=[page])
    notes = check_images(make_annotations([(6, 8)])).notes
    assert any("1 of 1 images have several pages or frames; only the first is read" in note for note in notes)


def test_one_file_under_two_ids_is_refused(write_coco, coco_dict, tmp_path, write_image, one_line):
    write_image(tmp_path / "b.png", 40, 30)
    coco_dict["images"][1] = coco_dict["images"][0] | {"id": 10}
    annotations = load_coco(write_coco(coco_dict))
    assert any("several images share a file name (first: 'b.png')" in note for note in annotations.notes)
    with pytest.raises(UserError) as caught:
        check_images(annotations)
    one_line(caught, "b.png: two images share this file (ids 10 and 20)")


def test_unusable_images_may_be_kept(make_annotations, tmp_path, write_image):
    write_image(tmp_path / "0.png", 4, 3)
    (tmp_path / "1.png").write_bytes(b"not an image")
    checked = check_images(make_annotations([(3, 4), (3, 4)]), bad_images="keep")
    assert len(checked) == 2
    assert any("1 of 2 images cannot be used" in note for note in checked.notes)
