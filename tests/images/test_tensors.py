"""Every form of image that users pass becomes the same tensor."""

import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F

from cascade_rcnn import images
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.tensors import read_image, to_tensor

ARRAY = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
EXPECTED = torch.from_numpy(ARRAY.copy()).permute(2, 0, 1)


def test_every_form_gives_the_same_pixels(tmp_path):
    path = tmp_path / "image.png"
    picture = PIL.Image.fromarray(ARRAY)
    picture.save(path)
    read_only = np.asarray(picture)  # as PIL exposes its pixels
    for image in (path, str(path), picture, ARRAY, read_only, EXPECTED, ARRAY[:, ::-1][:, ::-1]):
        found = to_tensor(image)
        assert found.dtype == torch.uint8
        assert torch.equal(found, EXPECTED)


def test_the_array_given_is_not_shared():
    array = ARRAY.copy()
    found = to_tensor(array)
    array[:] = 0
    assert torch.equal(found, EXPECTED)


def test_grey_becomes_three_equal_channels():
    grey = ARRAY[..., 0]
    for image in (grey, PIL.Image.fromarray(grey)):
        found = to_tensor(image)
        assert found.shape == (3, 5, 7)
        assert all(torch.equal(channel, torch.from_numpy(grey)) for channel in found)


def test_floating_point_stays_as_it_is():
    image = torch.rand(3, 4, 6)
    assert to_tensor(image) is image
    assert to_tensor(np.zeros((4, 6, 3), np.float32)).dtype == torch.float32


def test_palette_and_alpha_are_converted(tmp_path):
    for mode in ("P", "RGBA", "L", "1", "CMYK"):
        path = tmp_path / f"{mode}.tif"
        PIL.Image.new(mode, (6, 4)).save(path)
        assert read_image(path).shape == (3, 4, 6)
    half = PIL.Image.new("LA", (6, 4), (200, 128)).convert("La")  # premultiplied, as while Pillow resizes
    assert to_tensor(half).unique().tolist() == [199]


def test_a_photograph_on_its_side_is_turned(tmp_path):
    picture = PIL.Image.new("RGB", (8, 4))
    picture.putpixel((0, 0), (255, 0, 0))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # displayed rotated a quarter clockwise: the top left pixel moves to the top right
    picture.save(tmp_path / "side.png", exif=exif)
    found = read_image(tmp_path / "side.png")
    assert found.shape == (3, 8, 4)
    assert found[0, 0, 3] == 255


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 6, 2), np.uint8), r"shape \(4, 6, 2\); give \(height, width, 3\)"),
        (np.zeros((4, 6, 3), np.int32), "dtype int32"),
        (torch.zeros(2, 4, 6), r"shape \(2, 4, 6\); give \(3, height, width\)"),
        (torch.zeros(3, 0, 6), "not empty"),
        (torch.zeros(3, 4, 6, dtype=torch.int64), "dtype torch.int64"),
        (torch.zeros(2, 3, 4, 6), "shape"),
        (torch.tensor([0.0, 255]).expand(3, 4, 2), "torch.float32 has values from 0 to 255; give 0..1, or uint8"),
        (torch.tensor([0.0, 255]).half().expand(4, 2), "torch.float16 has values from 0 to 255"),
        (torch.tensor([-1.0, 1]).expand(3, 4, 2), r"from -1 to 1; .* \(the model normalises images itself\)"),
        (torch.tensor([0.1, float("nan")]).expand(3, 4, 2), "from nan to nan"),
        (torch.full((3, 4, 2), float("inf")), "from inf to inf"),
        (7, "from int"),
        (PIL.Image.new("I", (6, 4), 70000), "mode I with values from 70000 to 70000; .*16-bit"),
        (PIL.Image.new("F", (6, 4), 2.5), "mode F with values from 2.5 to 2.5; .*0..1 are supported"),
        (PIL.Image.new("RGB", (0, 4)), "not empty"),
    ],
)
def test_what_is_not_an_image_is_one_line(image, message):
    with pytest.raises(UserError, match=message) as caught:
        to_tensor(image)
    assert "\n" not in str(caught.value)


def test_interpolation_may_overshoot():
    torch.manual_seed(0)
    text = (torch.rand(1, 3, 50, 50) > 0.5).float()
    image = F.interpolate(text, scale_factor=1.5, mode="bicubic")[0]
    assert image.min() < -0.3
    assert image.max() > 1.3
    assert to_tensor(image) is image
    assert to_tensor(image.permute(1, 2, 0).numpy()).equal(image)


def test_values_are_not_looked_at_where_that_would_wait():
    image = torch.full((3, 4, 6), 255.0)
    assert to_tensor(image, check_values=False) is image


def test_files_that_do_not_open_are_named(tmp_path):
    broken, deep, cut = tmp_path / "broken.jpg", tmp_path / "deep.tif", tmp_path / "cut.png"
    broken.write_bytes(b"no image at all")
    PIL.Image.new("F", (6, 4), 255).save(deep)
    PIL.Image.effect_noise((64, 64), 50).save(cut)
    cut.write_bytes(cut.read_bytes()[:500])
    for path in (tmp_path / "missing.png", tmp_path, broken, deep, cut):
        with pytest.raises(UserError) as caught:
            read_image(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_names_of_the_package_do_not_import_torch_until_they_are_used():
    assert (images.read_image, images.to_tensor) == (read_image, to_tensor)
    with pytest.raises(AttributeError, match="no attribute 'read_imag'"):
        _ = images.read_imag
    code = "import sys, cascade_rcnn.images.inputs as i; assert 'torch' not in sys.modules; i.spread([])"
    subprocess.run([sys.executable, "-c", code], check=True)
