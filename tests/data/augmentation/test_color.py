import colorsys
import pickle
from functools import partial

import pytest
import torch
from torchvision import tv_tensors

from cascade_rcnn.config.augmentation import BlurConfig, ColorConfig, JPEGConfig, NoiseConfig
from cascade_rcnn.data.augmentation.build import build_transforms
from cascade_rcnn.data.augmentation.color import _Brightness, blur, color, jpeg, noise
from cascade_rcnn.errors import UserError


def _sample() -> tuple[tv_tensors.Image, dict]:
    """Return a black image with one box whose pixels are 200 in every channel."""
    image = torch.zeros(3, 30, 40, dtype=torch.uint8)
    image[:, 4:10, 2:15] = 200
    boxes = torch.tensor([[2.0, 4, 15, 10]])
    target = {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(30, 40)),  # pyright: ignore
        "labels": torch.tensor([3]),
        "area": torch.tensor([78.0]),
        "iscrowd": torch.tensor([1]),
        "image_id": torch.tensor(7),
    }
    return tv_tensors.Image(image), target


def _bright_box(image: torch.Tensor) -> list[int]:
    rows, columns = (image[0] > 100).nonzero(as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def test_a_flipped_box_follows_its_pixels():
    image, target = build_transforms(flip=1)(*_sample())
    assert target["boxes"].tolist() == [_bright_box(image)] == [[25, 4, 38, 10]]
    assert [target[key].item() for key in ("labels", "area", "iscrowd", "image_id")] == [3, 78, 1, 7]


def test_flipping_twice_changes_nothing():
    flip = build_transforms(flip=1)
    image, target = _sample()
    again, back = flip(*flip(image, target))
    assert again.equal(image)
    assert all(back[key].equal(target[key]) for key in target)


def test_zero_probabilities_change_nothing():
    image, target = _sample()
    same, kept = build_transforms(0, 0)(image, target)
    assert same.equal(image)
    assert kept["boxes"].equal(target["boxes"])


def test_flip_comes_with_its_probability():
    torch.manual_seed(0)
    flip = build_transforms(0.25)
    count = sum(flip(*_sample())[1]["boxes"][0, 0].item() == 25 for _ in range(400))
    assert 70 < count < 130  # 100 expected, standard deviation 8.7


def test_photometric_distortion_changes_colours_and_leaves_the_target():
    torch.manual_seed(0)
    distort = build_transforms(0, 1)
    seen = set()
    for _ in range(10):
        image, target = distort(*_sample())
        assert image.dtype == torch.uint8
        assert isinstance(image, tv_tensors.Image)
        assert target["boxes"].tolist() == [[2, 4, 15, 10]]
        seen.add(image[0, 5, 5].item())
    assert len(seen) > 3


def test_brightness_adds_up_to_32_levels_and_saturates():
    torch.manual_seed(0)
    image = tv_tensors.Image(torch.tensor([100, 0, 255], dtype=torch.uint8).expand(3, 1, 3))
    shifts = set()
    for _ in range(500):
        middle, dark, light = _Brightness(32)(image)[0, 0].tolist()
        shift = middle - 100
        shifts.add(shift)
        assert (dark, light) == (max(shift, 0), min(255 + shift, 255))
    assert (min(shifts), max(shifts)) == (-32, 32)


def test_hue_turns_by_at_most_a_tenth_of_the_circle():
    torch.manual_seed(0)
    distort = color(ColorConfig(probability=1, brightness=0, contrast=(1, 1), saturation=(1, 1)))
    red = tv_tensors.Image(torch.tensor([255, 0, 0], dtype=torch.uint8).reshape(3, 1, 1).expand(3, 2, 2))
    hues = []
    for _ in range(200):
        image, _ = distort(red, {})
        hue = colorsys.rgb_to_hsv(*(image[:, 0, 0] / 255).tolist())[0]
        hues.append(hue - 1 if hue > 0.5 else hue)
    assert -0.105 < min(hues) < -0.08
    assert 0.08 < max(hues) < 0.105


@pytest.mark.parametrize("arguments", [{"flip": 1.5}, {"photometric": -0.1}])
def test_no_probability(arguments, one_line):
    with pytest.raises(UserError) as caught:
        build_transforms(**arguments)
    one_line(caught, *arguments, "between 0 and 1")


def test_transforms_travel_to_worker_processes():
    again = pickle.loads(pickle.dumps(build_transforms(1, 1)))
    assert again(*_sample())[1]["boxes"].tolist() == [[25, 4, 38, 10]]


def _photo() -> tv_tensors.Image:
    torch.manual_seed(0)
    return tv_tensors.Image(torch.randint(90, 160, (3, 24, 32), dtype=torch.uint8))


@pytest.mark.parametrize(
    ("make", "config"),
    [(jpeg, JPEGConfig), (blur, partial(BlurConfig, sigma=(1.0, 1.5))), (noise, NoiseConfig), (color, ColorConfig)],
)
def test_what_changes_pixels_leaves_targets_and_masks(make, config):
    image, target = _photo(), _sample()[1]
    target["masks"] = tv_tensors.Mask(torch.eye(30, 40, dtype=torch.uint8)[None])
    changed, kept = make(config(probability=1))(image, target)
    assert (changed.shape, changed.dtype) == (image.shape, torch.uint8)
    assert not changed.equal(image)
    assert all(kept[name].equal(target[name]) for name in target)
    same, _ = make(config(probability=0))(image, target)
    assert same.equal(image)


def test_a_worse_quality_is_further_from_the_image():
    image = _photo()
    away = [
        (jpeg(JPEGConfig(probability=1, quality=(q, q)))(image).float() - image.float()).abs().mean().item()
        for q in (95, 40, 10)
    ]
    assert 0 < away[0] < away[1] < away[2]


def test_noise_has_the_strength_that_is_asked_for():
    grey = tv_tensors.Image(torch.full((3, 60, 60), 128, dtype=torch.uint8))
    noisy = noise(NoiseConfig(probability=1, sigma=(0.05, 0.05)))(grey)
    assert noisy.float().std().item() == pytest.approx(0.05 * 255, rel=0.05)
    assert noisy.float().mean().item() == pytest.approx(128, abs=1)


def test_blur_spreads_a_point_by_its_sigma_and_spares_images_below_its_kernel():
    point = torch.zeros(3, 21, 21, dtype=torch.uint8)
    point[:, 10, 10] = 255
    spread = blur(BlurConfig(probability=1, sigma=(1.0, 1.0)))(tv_tensors.Image(point))
    assert spread[0, 10, 10].item() == pytest.approx(255 / (2 * torch.pi), abs=2)  # of a Gaussian of sigma 1
    tiny = tv_tensors.Image(torch.full((3, 2, 30), 7, dtype=torch.uint8))
    assert blur(BlurConfig(probability=1, sigma=(5.0, 5.0)))(tiny).equal(tiny)
