"""Boxes, masks and all other fields of an object follow its pixels at any scale."""

import pickle

import pytest
import torch
from torchvision import tv_tensors

from cascade_rcnn.data.augmentation.build import build_transforms
from cascade_rcnn.data.augmentation.scale import LargeScaleJitter
from cascade_rcnn.data.targets import apply
from cascade_rcnn.errors import UserError

GREY = [124, 116, 104]


def _sample(height: int = 40, width: int = 80) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return a black image with a bright box (16, 8) to (48, 32) and two small ones in opposite corners."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[:, 8:32, 16:48] = 255
    masks = torch.zeros(3, height, width, dtype=torch.uint8)
    masks[0, 8:32, 16:48] = masks[1, :4, :4] = masks[2, -4:, -4:] = 1
    return image, {
        "boxes": torch.tensor([[16.0, 8, 48, 32], [0, 0, 4, 4], [width - 4.0, height - 4, width, height]]),
        "labels": torch.tensor([1, 2, 3]),
        "area": torch.tensor([768.0, 8.0, 16.0]),  # the second object fills half of its box, like a triangle
        "iscrowd": torch.tensor([0, 0, 1]),
        "weight": torch.tensor([0.1, 0.2, 0.3]),
        "masks": tv_tensors.Mask(masks),
        "image_id": torch.tensor(7),
    }


def _bright(image: torch.Tensor) -> list[int]:
    rows, columns = (image[0] > 130).nonzero(as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def test_an_image_that_fits_is_padded_at_right_and_below():
    image, target = apply(LargeScaleJitter((0.5, 0.5), 80), *_sample())  # 80 x 40 -> 40 x 20 on 80 x 80
    assert image.shape == (3, 80, 80)
    assert target["boxes"].tolist() == [[8, 4, 24, 16], [0, 0, 2, 2], [38, 18, 40, 20]]
    assert _bright(image) == [8, 4, 24, 16]
    assert image[:, 20:].flatten(1).unique(dim=1).T.tolist() == [GREY]
    assert image[:, :, 40:].flatten(1).unique(dim=1).T.tolist() == [GREY]
    assert target["area"].tolist() == [192, 2, 4]  # a quarter
    assert target["masks"].shape == (3, 80, 80)
    assert target["masks"].flatten(1).sum(dim=1).tolist() == [16 * 12, 4, 4]


def test_scale_one_fits_the_long_side_to_the_canvas():
    image, target = apply(LargeScaleJitter((1, 1), 160), *_sample())
    assert target["boxes"][0].tolist() == [32, 16, 96, 64] == _bright(image)


def test_what_is_larger_is_cropped_and_what_lies_outside_is_dropped_from_every_field(monkeypatch):
    """80 x 40 -> 160 x 80, cropped to (24, 8) to (88, 72)."""
    draws = iter([torch.tensor(0.0), torch.tensor([0.5, 0.25])])
    monkeypatch.setattr(torch, "rand", lambda *shape: next(draws))
    image, target = apply(LargeScaleJitter((2.5, 2.5), 64), *_sample())
    # the top is half of 80 - 64 = 8, the left a quarter of 160 - 64 = 24; the box was at (32, 16) to (96, 64)
    assert image.shape == (3, 64, 64)
    assert target["boxes"].tolist() == [[8, 8, 64, 56]]
    assert _bright(image) == [8, 8, 64, 56]
    assert target["labels"].tolist() == [1]
    assert target["weight"].tolist() == pytest.approx([0.1])
    assert target["iscrowd"].tolist() == [0]
    assert target["area"].tolist() == pytest.approx([768 * (56 * 48) / (32 * 24)])
    assert target["masks"].sum().item() == 56 * 48
    assert target["image_id"].item() == 7


def test_sizes_lie_between_the_two_scales():
    torch.manual_seed(0)
    jitter = LargeScaleJitter((0.25, 1.0), 100)
    widths = [(box[2] - box[0]).item() for box in (apply(jitter, *_sample())[1]["boxes"][0] for _ in range(60))]
    assert 10 <= min(widths) < 13  # 32 of 80 pixels is 40 of the canvas's 100, times .25 to 1
    assert 36 < max(widths) <= 40.5


@pytest.mark.parametrize("scale", [(0.1, 0.1), (0.3, 0.7), (1.0, 2.0), (2.0, 2.0)])
@pytest.mark.parametrize("shape", [(40, 80), (80, 40), (1, 200), (64, 64)])
def test_boxes_follow_pixels_at_any_scale_and_shape(scale, shape):
    torch.manual_seed(1)
    height, width = shape
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    box = [width // 4, height // 4, max(width // 4 + 1, width * 3 // 4), max(height // 4 + 1, height * 3 // 4)]
    image[:, box[1] : box[3], box[0] : box[2]] = 255
    target = {"boxes": torch.tensor([box]).float(), "labels": torch.tensor([1]), "weight": torch.tensor([5])}
    for _ in range(5):
        changed, kept = apply(LargeScaleJitter(scale, 64), image, target)
        assert changed.shape == (3, 64, 64)
        assert len(kept["boxes"]) == len(kept["labels"]) == len(kept["weight"])
        if len(kept["boxes"]) and (found := (changed[0] > 130)).any():
            x1, y1, x2, y2 = kept["boxes"][0].tolist()
            rows, columns = found.nonzero(as_tuple=True)
            assert min(columns.min() - x1, rows.min() - y1) >= -1.5
            assert max(columns.max() + 1 - x2, rows.max() + 1 - y2) <= 1.5


def test_an_image_without_boxes_stays_one():
    image, target = apply(
        LargeScaleJitter((0.5, 2.0), 64),
        torch.zeros(3, 20, 30, dtype=torch.uint8),
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "area": torch.zeros(0)},
    )
    assert image.shape == (3, 64, 64)
    assert target["boxes"].shape == (0, 4)
    assert target["area"].shape == (0,)


def test_it_is_one_of_the_recipe_s_steps_and_travels_to_worker_processes():
    steps = pickle.loads(pickle.dumps(build_transforms(1, 0, (0.5, 0.5), 80)))
    _, target = apply(steps, *_sample())
    assert target["boxes"][0].tolist() == [16, 4, 32, 16]  # 16..48 of 80, flipped: 32..64; halved


@pytest.mark.parametrize(
    ("scale", "size", "name"),
    [((0, 1), 64, "scale"), ((2, 1), 64, "scale"), ((1, 99), 64, "scale"), ((1, 2), 0, "size")],
)
def test_no_range_or_canvas(scale, size, name, one_line):
    with pytest.raises(UserError) as caught:
        build_transforms(jitter=scale, jitter_size=size)
    one_line(caught, name)
