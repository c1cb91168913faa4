import PIL.Image
import pytest

from cascade_rcnn.data.coco import load_coco
from cascade_rcnn.data.image_files import list_images
from cascade_rcnn.errors import UserError
from cascade_rcnn.images import read_image


def test_list_images_is_sorted_recursive_and_leaves_other_files(tmp_path, write_image):
    for name in ("b.png", "a/c.JPG", "a/b.bmp"):
        write_image(tmp_path / name, 4, 3)
    (tmp_path / "a/notes.txt").write_text("no image")
    assert list_images(tmp_path) == [tmp_path / "a/b.bmp", tmp_path / "a/c.JPG", tmp_path / "b.png"]


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
def test_image_size_is_that_of_the_upright_image(tmp_path, write_image, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    write_image(tmp_path / "a.jpg", 40, 30, exif=exif)
    assert image_size(tmp_path / "a.jpg") == ((40, 30) if orientation >= 5 else (30, 40))
    assert image_size(tmp_path / "a.jpg") == tuple(read_image(tmp_path / "a.jpg").shape[1:])


def test_image_size_of_no_image(tmp_path, one_line):
    (tmp_path / "a.jpg").write_text("text")
    for name, part in (("a.jpg", "does not open"), ("absent.jpg", "no such image")):
        with pytest.raises(UserError) as caught:
            image_size(tmp_path / name)
        one_line(caught, name, part)


def test_missing_images_are_counted(tmp_path, write_coco, coco_dict, write_image, one_line):
    annotations = load_coco(write_coco(coco_dict), tmp_path)
    with pytest.raises(UserError) as caught:
        check_images(annotations)
    one_line(caught, "2 of 2 images", "first: b.png", str(tmp_path), "boxes.json")
    write_image(tmp_path / "b.png", 4, 4)
    with pytest.raises(UserError) as caught:
        check_images(annotations)
    one_line(caught, "1 of 2 images", "first: sub/a.png")
    write_image(tmp_path / "sub/a.png", 4, 4)
    check_images(annotations)
