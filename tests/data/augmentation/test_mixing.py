"""Mosaic and mixup: offsets computed by hand, and every field of every object."""

import pytest
import torch

from cascade_rcnn.config.augmentation import MixUpConfig, MosaicConfig
from cascade_rcnn.data.augmentation.geometry import Place
from cascade_rcnn.data.augmentation.mixing import Mixing, MixUp, Mosaic, union, visible
from cascade_rcnn.errors import UserError


def test_a_mosaic_s_offsets(sample, consistent, draws):
    """Four images of 40 x 80, each at half size, around the centre of the canvas."""
    images = [sample(40, 80, [[60, 30, 80, 40], [0, 0, 16, 8]], first_label=1 + 2 * k) for k in range(4)]
    others = iter(images[1:])
    draws([0.5, 0.5], 0.0, 0.0, 0.0, 0.0)  # the centre: .25 + .5 * .5; scales: .5
    canvas, target = Mosaic(MosaicConfig(scale=(0.5, 1.0))).mix(*images[0], lambda: next(others))
    assert canvas.shape == (3, 40, 80)
    assert target["boxes"].tolist() == [
        [30, 15, 40, 20],  # at half size, (60, 30, 80, 40) is (30, 15, 40, 20); the top left image starts at (0, 0)
        [0, 0, 8, 4],
        [70, 15, 80, 20],  # the top right image starts at (40, 0)
        [40, 0, 48, 4],
        [30, 35, 40, 40],  # the bottom left image starts at (0, 20)
        [0, 20, 8, 24],
        [70, 35, 80, 40],
        [40, 20, 48, 24],
    ]
    assert target["labels"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert target["area"].tolist() == [50, 32] * 4
    assert target["image_id"].item() == 1
    for (x1, y1, x2, y2), label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
        assert (canvas[:, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] == 10 * label).all()
    consistent(canvas, target)


def test_a_mosaic_s_images_touch_the_centre_and_what_is_cut_off_goes(sample, consistent, draws):
    """Images at full size: the first shows its lower right corner, the last its upper left."""
    images = [sample(40, 80, [[0, 0, 20, 20], [40, 10, 70, 30]], first_label=1 + 2 * k) for k in range(4)]
    others = iter(images[1:])
    draws([0.0, 1.0], 1.0, 1.0, 1.0, 1.0)  # the centre: y = 10, x = 60
    canvas, target = Mosaic(MosaicConfig(scale=(0.5, 1.0))).mix(*images[0], lambda: next(others))
    found = dict(zip(target["labels"].tolist(), target["boxes"].tolist(), strict=True))
    # The first image is shifted by (60 - 80, 10 - 40), so that it is visible from y = 30 on, where it has no object.
    assert {1, 2}.isdisjoint(found)
    # The second starts at x = 60, ends at y = 10, shifted by (60, -30): no object. The third by (-20, 10), from y = 10.
    assert {3, 4}.isdisjoint(found)
    assert 5 not in found  # of (-20, 10, 0, 30) nothing is left
    assert found[6] == [20, 20, 50, 40]
    assert found[7] == [60, 10, 80, 30]  # the fourth image starts at (60, 10)
    assert 8 not in found
    consistent(canvas, target)


def test_a_sliver_gets_no_box(sample, draws):
    image, target = sample(40, 80, [[0, 0, 40, 40]])
    corner = [sample(40, 80, [[19, 0, 69, 40]], first_label=k) for k in (2, 3, 4)]
    others = iter(corner)
    draws([0.5, 0.5], 1.0, 1.0, 1.0, 1.0)
    _, found = Mosaic(MosaicConfig()).mix(image, target, lambda: next(others))
    # At the top right, 40 to 80 shows x from 0 to 40 of the image: 21 of 50 pixels, and from y = 20 on: 21 %, kept.
    assert 2 in found["labels"].tolist()
    others = iter([sample(40, 80, [[36, 0, 76, 40]], first_label=k) for k in (2, 3, 4)])
    draws([0.5, 0.5], 1.0, 1.0, 1.0, 1.0)
    _, found = Mosaic(MosaicConfig()).mix(image, target, lambda: next(others))
    assert 2 not in found["labels"].tolist()  # 4 of 40 pixels, and half the height: 5 %


def test_a_sliver_of_a_crowd_is_still_ignored(sample):
    image, target = sample(40, 80, [[0, 0, 80, 40], [20, 5, 60, 40]])
    target["iscrowd"][0] = 1
    _, found = visible(Place((40, 80), (-30, -60), (40, 80), (0, 0, 10, 20)), image, target)
    assert found["boxes"].tolist() == [[0, 0, 20, 10]]  # a sixteenth of the crowd; the object beside it is cut off
    assert found["iscrowd"].tolist() == [1]


def test_mixup_is_the_union_on_a_canvas_for_both(sample, consistent, monkeypatch):
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda self: torch.tensor(0.75))
    first, second = sample(20, 40, [[0, 0, 10, 10]]), sample(30, 20, [[5, 5, 15, 25]], first_label=8)
    image, target = MixUp(MixUpConfig()).mix(*first, lambda: second)
    assert image.shape == (3, 30, 40)
    assert target["boxes"].tolist() == [[0, 0, 10, 10], [5, 5, 15, 25]]
    assert target["labels"].tolist() == [1, 8]
    assert image[0, 2, 2].item() == round(0.75 * 10)
    assert image[0, 7, 7].item() == round(0.75 * 10 + 0.25 * 80)
    assert image[0, 2, 30].item() == round(0.25 * 124)  # beside the second image: grey
    consistent(image, target)


@pytest.mark.parametrize("step", [Mosaic(MosaicConfig()), MixUp(MixUpConfig())])
def test_images_without_objects_mix(sample, consistent, step):
    assert isinstance(step, Mixing)
    no_rows = {"labels": torch.zeros(0).long(), "iscrowd": torch.zeros(0).long()}
    empty = (torch.zeros(3, 20, 30, dtype=torch.uint8), {"boxes": torch.zeros(0, 4), **no_rows})
    torch.manual_seed(0)
    image, target = step.mix(*empty, lambda: empty)
    assert target["boxes"].shape == (0, 4)
    image, target = step.mix(*empty, lambda: sample(20, 30, [[0, 0, 30, 20]]))
    consistent(image, target)


def test_fields_that_only_some_objects_have_are_refused(sample, one_line):
    (_, first), (_, second) = sample(10, 10, [[0, 0, 5, 5], [1, 1, 4, 4]]), sample(10, 10, [[0, 0, 5, 5], [2, 2, 9, 9]])
    del second["weight"]
    with pytest.raises(UserError) as caught:
        union([first, second], first)
    one_line(caught, "weight")
