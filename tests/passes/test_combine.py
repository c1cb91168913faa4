"""Options of prediction: only those that exist, with values of the right kind."""

import math

import pytest
import torch

from cascade_rcnn import UserError, load
from cascade_rcnn.config import Category, InferenceConfig, ModelConfig
from cascade_rcnn.passes import with_options


def seen_by(**options):
    """Return the images that a detector is given."""
    seen = []

    def detect(images, scale=1.0):
        seen.extend(images)
        return [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0).long()} for _ in images]

    with_options(detect, ModelConfig(), **options)([torch.zeros(3, 8, 8)])
    return seen


def test_only_the_flip_flips():
    assert [len(seen_by(tta=tta)) for tta in ((), [], None, ["flip"], ("flip",))] == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "options", [{"tiles": 64}, {"tta": ["flip"]}, {"classes": ["class 1"]}, {"thresholds": {"class 1": 0.6}}]
)
def test_torch_s_default_device_does_not_matter(paint, seeing, options):
    boxes = [(10, 10, 30, 25), (50, 30, 90, 60), (100, 5, 120, 90)]
    image, detect = paint(96, 128, boxes), seeing(boxes)

    def on_cpu(images, scale=1.0):
        with torch.device("cpu"):
            return detect(images, scale)

    config = ModelConfig(categories=(Category(id=1, name="class 1"), Category(id=2, name="class 2")))
    expected = with_options(on_cpu, config, **options)([image])[0]
    with torch.device("meta"):
        found = with_options(on_cpu, config, **options)([image])[0]
        dense = found["masks"].dense()
    assert len(found["boxes"]) > 0
    assert all(found[name].equal(expected[name]) for name in ("boxes", "scores", "labels"))
    assert dense.equal(expected["masks"].dense())


@pytest.mark.parametrize("options", [{"tiles": 64}, {"tta": ["flip"]}])
@pytest.mark.parametrize(("agnostic", "labels"), [(False, [1, 2]), (True, [1])])
def test_an_object_of_two_classes_counts_as_the_model_s_nms_says(paint, seeing, options, agnostic, labels):
    boxes, detect = [(10, 10, 30, 25)], seeing([(10, 10, 30, 25)])

    def doubting(images, scale=1.0):
        """Return each box twice: as class 1, and less likely as class 2."""
        for one in detect(images, scale):
            first, number = one["boxes"][:1], min(1, len(one["boxes"]))
            yield {
                "boxes": first.repeat(2, 1),
                "scores": torch.tensor([0.9, 0.8])[: 2 * number],
                "labels": torch.tensor([1, 2])[: 2 * number],
            }

    config = ModelConfig(inference=InferenceConfig(agnostic_nms=agnostic))
    (found,) = with_options(lambda *given: list(doubting(*given)), config, **options)([paint(96, 128, boxes)])
    assert found["labels"].tolist() == labels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tta": ["none"]}, "tta is 'none'; give flip"),
        ({"tta": "no"}, r"tta is 'no'; give a list, such as \['flip'\]$"),
        ({"tta": True}, r"tta is True; give a list, such as \['flip'\]$"),
        ({"tta_scales": True}, "tta_scales is True; give a list$"),
        ({"tta_scales": 0.8}, "tta_scales is 0.8; give a list, such as"),
        ({"classes": "class 1"}, "classes is 'class 1'; give a list"),
        ({"tiles": "256"}, "tiles is '256'; give a whole number"),
        ({"overlap": 0.5}, "overlap is that of tiles; give tiles, or omit it"),
        ({"tile": 256}, r"with_options has no option 'tile'; did you mean 'tiles'\?"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(UserError, match=message):
        seen_by(**options)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1, 2, "0.5", None])
def test_a_threshold_is_a_score(wrong):
    image = torch.zeros(3, 64, 64)
    with pytest.raises(UserError, match=r"threshold is .*; give .*0 to 1"):
        load("starter").predict(image, threshold=wrong)
    with pytest.raises(UserError, match=r"Detector\.predict has no option 'treshold'; did you mean 'threshold'\?"):
        load("starter").predict(image, treshold=0.95)
