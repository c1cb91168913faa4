"""A single reader for everything that is one image or several."""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors

from cascade_rcnn.errors import UserError
from cascade_rcnn.images.inputs import spread, to_array
from cascade_rcnn.images.tensors import to_tensor
from cascade_rcnn.results import to_supervision

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
TENSOR = torch.from_numpy(PIXELS.copy()).permute(2, 0, 1)
GREY = PIXELS[..., :1].repeat(3, axis=2)


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    PIL.Image.fromarray(PIXELS).save(path)
    return path


def test_every_form_gives_the_same_bytes(png):
    alpha = np.concatenate([PIXELS, np.full((5, 7, 1), 9, np.uint8)], axis=2)
    forms = [png, str(png), png.read_bytes(), bytearray(png.read_bytes()), io.BytesIO(png.read_bytes())]
    forms += [PIL.Image.open(png), PIL.Image.fromarray(alpha), PIXELS, alpha, TENSOR]
    forms += [torch.from_numpy(alpha).permute(2, 0, 1)]
    for form in forms:
        found = to_array(form)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, PIXELS)
    with png.open("rb") as file:
        np.testing.assert_array_equal(to_array(file), PIXELS)


def test_tensors_of_any_subclass_are_images():
    image = tv_tensors.Image(TENSOR)
    for form, number in ((image, 1), (image[None], 1), (torch.stack([TENSOR] * 2).as_subclass(tv_tensors.Image), 2)):
        assert len(found := list(spread(form).images)) == number
        assert all((to_array(one) == PIXELS).all() for one in found)
    assert spread(image).number == "one"


def test_one_channel_becomes_three():
    for form in (PIXELS[..., 0], PIXELS[..., :1], TENSOR[0], TENSOR[:1], PIL.Image.fromarray(PIXELS[..., 0])):
        np.testing.assert_array_equal(to_array(form), GREY)


def test_other_units_by_hand():
    deep = np.array([[0, 257, 65535]], np.uint16)
    np.testing.assert_allclose(to_array(deep)[0, :, 0], [0, 1 / 255, 1], rtol=1e-6)
    np.testing.assert_allclose(to_array(torch.from_numpy(deep))[0, :, 0], [0, 1 / 255, 1], rtol=1e-6)
    for kind in (np.float16, np.float32, np.float64):
        found = to_array(np.array([[0, 0.5, 1]], kind))
        assert found.dtype == np.float32
        assert found[0, :, 2].tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("peak", [255, 4095, 8191])
def test_ten_bits_in_sixteen_are_read_with_a_warning(peak):
    dark = np.array([[0, 7, peak]], np.uint16)
    for image, convert in ((dark, to_array), (torch.from_numpy(dark), to_array), (torch.from_numpy(dark), to_tensor)):
        with pytest.warns(UserWarning, match="less than an eighth of the range 0..65535"):
            assert float(convert(image).max()) == pytest.approx(peak / 65535)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_so_are_files_and_pil_images(tmp_path, kind):
    def forms(peak: int) -> tuple[Any, ...]:
        image = PIL.Image.fromarray(np.array([[0, 7, peak]], np.uint16))
        image.save(file := tmp_path / f"{peak}.{kind.lower()}")
        return image, file, file.read_bytes()

    for image in forms(4095):
        with pytest.warns(UserWarning, match="of 16 bits uses less than an eighth"):
            assert int(to_array(image).max()) == 15
    with warnings.catch_warnings(action="error"):
        for image in forms(8192):
            assert int(to_array(image).max()) == 32


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 6, 2), np.uint8), r"shape \(4, 6, 2\)"),
        (np.zeros((3, 40, 60), np.uint8), r"shape \(3, 40, 60\); give \(height, width, 3\)"),
        (np.zeros((0, 6, 3), np.uint8), "not empty"),
        (np.zeros((4, 6, 3), np.int32), "dtype int32"),
        (np.full((4, 6, 3), 200.0), "values from 200 to 200; give 0..1"),
        (np.full((4, 6, 3), np.nan), "values from nan"),
        (b"no image", "the bytes given: cannot open this image"),
        (7, "from int"),
        ({"a": 1}, "from dict"),
    ],
)
def test_what_is_not_an_image_is_one_line(image, message):
    with pytest.raises(UserError, match=message) as caught:
        to_array(image)
    assert "\n" not in str(caught.value)


def brightness(batch):
    """Return a detector that finds one box, as wide as the image is bright."""
    found = []
    for image in batch:
        boxes = np.array([[0, 0, to_array(image).mean(), 1]], np.float32)
        one = {"boxes": boxes, "scores": np.ones(1), "labels": np.array([1])}
        found.append(to_supervision(one, ["thing"], 0.5))
    return found


def widths(found) -> list[float]:
    return [float(one.xyxy[0, 2]) for one in found]


def test_one_image_gives_its_detections_and_its_path(png):
    for form in (png, str(png), png.read_bytes(), PIL.Image.open(png), PIXELS, TENSOR):
        found = spread(form).map(brightness, 4)
        assert widths([found]) == pytest.approx([PIXELS.mean()])
    assert spread(png).map(brightness, 1).metadata == {"path": str(png)}
    assert spread(PIXELS).map(brightness, 1).metadata == {}


def test_several_give_a_list_whatever_holds_them(png, tmp_path):
    (tmp_path / "other").mkdir()
    PIL.Image.fromarray(PIXELS // 2).save(tmp_path / "other" / "b.png")
    both = [PIXELS, PIXELS // 2]
    expected = pytest.approx([x.mean() for x in both])
    forms = [both, tuple(both), np.stack(both), torch.from_numpy(np.stack(both)).permute(0, 3, 1, 2), tmp_path]
    forms += [str(tmp_path / "**" / "*.png"), [png, tmp_path / "other" / "b.png"]]
    for form in forms:
        for batch_size in (1, 2, 3):
            found = spread(form).map(brightness, batch_size)
            assert isinstance(found, list)
            assert widths(found) == expected
    assert spread([]).map(brightness, 1) == []


def test_a_stream_gives_an_iterator_that_reads_no_further_than_it_must():
    read = []

    def images() -> Iterator[np.ndarray]:
        for k in range(6):
            read.append(k)
            yield np.full((2, 2, 3), k, np.uint8)

    found = spread(images()).map(brightness, 2)
    assert read == []
    assert widths([next(found), next(found)]) == [0, 1]
    assert read == [0, 1]
    assert widths(found) == [2, 3, 4, 5]


def test_mistakes_about_several_are_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot read images from dict; give a path"):
        spread({"image": "a.png"})
    with pytest.raises(UserError, match="cannot read images from int; give a path"):
        spread(7)
    for wrong in (0, 1.5, "2"):
        with pytest.raises(UserError, match="batch_size is "):
            spread([PIXELS]).map(brightness, wrong)
    with pytest.raises(UserError, match="a path is empty"):
        spread("")
    with pytest.raises(UserError, match="no images found"):
        spread(tmp_path)
    with pytest.raises(UserError, match="no such image"):
        spread(str(tmp_path / "gone.jpg")).map(brightness, 1)
    with pytest.raises(UserError, match=r"https://host/a\.jpg: images are not read from URLs; download it"):
        spread("https://host/a.jpg").map(brightness, 1)


def test_images_of_a_folder_that_are_left_out_are_mentioned(png):
    (png.parent / "b.heic").write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"skipped images in unsupported formats: 1 \.heic"):
        assert list(spread(png.parent).images) == [png]


def test_bfloat16_is_read():
    assert to_array(torch.ones(3, 2, 2, dtype=torch.bfloat16)).tolist() == [[[1.0] * 3] * 2] * 2
