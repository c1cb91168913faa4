"""Test-time augmentation: views are inverted, and fused as computed by hand."""

import math

import pytest
import torch

from cascade_rcnn.config import InferenceConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.passes.augment import Augmented
from cascade_rcnn.passes.fuse import fuse


def one(box: list[float], score: float, label: int = 1) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor([box]), "scores": torch.tensor([score]), "labels": torch.tensor([label])}


def test_a_mirrored_view_is_mirrored_back_with_its_masks(paint, seeing):
    boxes = [(3, 5, 20, 11), (30, 4, 44, 20)]
    image, detect = paint(24, 50, boxes), seeing(boxes)
    (wanted,) = detect([image])
    (found,) = Augmented(detect, True, [], InferenceConfig())([image])
    assert torch.equal(found.pop("masks").dense(), wanted.pop("masks").dense())
    for name, values in wanted.items():
        assert torch.allclose(found[name], values), name


def test_every_scale_is_seen_with_and_without_the_mirror_and_multiplies_the_caller_s():
    scales = []

    def detect(images, scale=1.0):
        scales.append(scale)
        return [one([0.0, 0.0, 10.0, 10.0], 0.5)]

    (found,) = Augmented(detect, True, [0.5, 2.0], InferenceConfig())([torch.zeros(3, 10, 10)], scale=3.0)
    assert scales == [3.0, 3.0, 1.5, 1.5, 6.0, 6.0]
    assert found["scores"].tolist() == [0.5]


def test_fused_as_computed_by_hand():
    first, second = (
        one([0.0, 0.0, 10.0, 10.0], 0.8),
        one([0.0, 0.0, 12.0, 10.0], 0.4),
    )  # IoU 10/12: two votes
    found = fuse([first, second], InferenceConfig())
    assert found["boxes"].tolist() == [pytest.approx([0, 0, (0.8 * 10 + 0.4 * 12) / 1.2, 10])]
    assert found["scores"].tolist() == [pytest.approx(0.8)]
    wide = one([0.0, 0.0, 18.0, 10.0], 0.4)  # IoU 10/18: the same object to NMS, but no vote
    assert fuse([first, wide], InferenceConfig())["boxes"].tolist() == [[0, 0, 10, 10]]
    apart = fuse([one([0.0, 0.0, 25.0, 10.0], 0.4), first], InferenceConfig())  # IoU 0.4: two objects, the best first
    assert apart["boxes"].tolist() == [[0, 0, 10, 10], [0, 0, 25, 10]]
    assert len(fuse([first, one([0.0, 0.0, 10.0, 10.0], 0.4, label=2)], InferenceConfig())["boxes"]) == 2
    assert len(fuse([first, one([0.0, 0.0, 25.0, 10.0], 0.4)], InferenceConfig(max_detections=1))["boxes"]) == 1


def test_neighbours_that_nms_keeps_apart_do_not_vote_for_each_other():
    """An IoU of 86 / 114 = 0.75: one object at 0.7, two at 0.8."""
    views = [one([0.0, 0.0, 100.0, 100.0], 0.8), one([14.0, 0.0, 114.0, 100.0], 0.8)]
    assert fuse(views, InferenceConfig(nms_iou=0.7))["boxes"].tolist() == [pytest.approx([7, 0, 107, 100])]
    first, second = sorted(fuse(views, InferenceConfig(nms_iou=0.8))["boxes"].tolist())
    assert (first, second) == (pytest.approx([0, 0, 100, 100]), pytest.approx([14, 0, 114, 100]))


def test_nothing_found_in_any_view():
    empty = {name: values[:0] for name, values in one([0.0, 0.0, 1.0, 1.0], 0.1).items()}
    assert fuse([empty, empty], InferenceConfig())["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (0, "tta_scales is 0; give 0.1 to 10"),
        (math.nan, "tta_scales is nan"),
        ("x", "tta_scales is 'x'; give a number"),
    ],
)
def test_a_scale_out_of_range(seeing, scale, message):
    with pytest.raises(UserError, match=message):
        Augmented(seeing([]), False, [scale], InferenceConfig())
