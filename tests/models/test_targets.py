"""Target dicts -> dense batches: values by hand, notes, errors."""

import warnings

import pytest
import torch
from torchvision import tv_tensors

from cascade_rcnn.config import PreprocessConfig as Config
from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks
from cascade_rcnn.models.preprocess import Preprocess
from cascade_rcnn.models.targets import batch_targets


def dense(targets: list[dict], size: tuple[int, int] = (50, 100), **options):
    preprocess = Preprocess(Config(**({"min_size": None} | options)), 32).eval()
    return batch_targets(targets, preprocess([torch.zeros(3, *size) for _ in targets]), 3)


def target(boxes, labels, **more) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels).long(),
    } | more


def test_targets_are_scaled_and_padded():
    found = dense([target([[10, 20, 30, 40], [0, 0, 100, 50]], [2, 3]), target([[1, 2, 3, 4]], [1])], min_size=(100,))
    assert found.boxes.tolist() == [[[20, 40, 60, 80], [0, 0, 200, 100]], [[2, 4, 6, 8], [0, 0, 0, 0]]]
    assert found.labels.tolist() == [[2, 3], [1, 0]]
    assert found.valid.tolist() == [[True, True], [True, False]]
    assert found.ignore is None


@pytest.mark.parametrize(("form", "values"), [("XYWH", [10, 20, 20, 20]), ("CXCYWH", [20, 30, 20, 20])])
def test_boxes_of_torchvision_know_their_format(form, values):
    boxes = tv_tensors.BoundingBoxes([values], format=form, canvas_size=(50, 100))  # pyright: ignore[reportCallIssue]
    assert dense([{"boxes": boxes, "labels": torch.tensor([2])}]).boxes.tolist() == [[[10, 20, 30, 40]]]


@pytest.mark.parametrize(
    ("boxes", "noted"),
    [
        ([[0.1, 0.2, 0.5, 0.9]], True),
        ([[0.1, 0.2, 0.5, 0.9], [0, 0, 30, 30]], False),
        ([[0, 0, 1, 1]], False),  # as some users give for images without objects
        ([], False),
    ],
)
def test_fractions_of_the_image_are_noted(boxes, noted):
    plain = Preprocess(Config(min_size=None), 32)
    given = [target(boxes, [1] * len(boxes)), target([[0, 0, 1, 1]], [1])]
    batch = plain([torch.ones(3, 40, 40)] * 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batch_targets(given, batch, 3)
    assert [str(one.message) for one in caught] == noted * [
        "targets: all boxes of this batch lie within one pixel; give pixels, not fractions of the image"
    ]


def test_lists_and_arrays_are_targets_too():
    expected = target([[10, 20, 30, 40], [0, 0, 50, 50]], [2, 3], iscrowd=torch.tensor([0, 1]))
    for kind in (lambda x: x.tolist(), lambda x: x.numpy()):
        found = dense([{name: kind(value) for name, value in expected.items()}])
        for one, other in zip(found[:4], dense([expected])[:4], strict=True):
            assert one.equal(other)


def test_no_objects_leave_one_empty_slot():
    for boxes, labels in ((torch.zeros(0, 4), torch.zeros(0).long()), (torch.zeros(0), torch.zeros(0)), ([], [])):
        found = dense([{"boxes": boxes, "labels": labels}])
        assert found.boxes.shape == (1, 1, 4)
        assert found.valid.tolist() == [[False]]


def test_crowds_are_not_objects_and_degenerate_boxes_are_nothing():
    boxes = [[0, 0, 10, 10], [20, 20, 40, 40], [5, 5, 5, 9], [9, 9, 9, 9], [50, 5, 50, 5]]
    found = dense([target(boxes, [1] * 5, iscrowd=torch.tensor([0, 1, 0, 0, 1])), target([], [])])
    assert found.valid.tolist() == [[True, False, False, False, False], [False] * 5]
    assert found.ignore is not None
    assert found.ignore.tolist() == [[False, True, False, False, False], [False] * 5]
    assert dense([target(boxes, [1] * 5, iscrowd=torch.zeros(5))]).ignore is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            target([[0, 0, 9, 9]], [0]),
            r"targets\[1\]\['labels'\] range over 0..0, but this model's are 1..3; labels start at",
        ),
        (target([[0, 0, 9, 9]], [4]), "num_classes=4"),
        (target([[0, 0, 9, 9]], [1, 2]), r"targets\[1\] has 1 box and 2 labels"),
        (target([[0, 0, 9, 9]], [1], iscrowd=torch.tensor([0, 1])), r"1 box and 2 iscrowd"),
        (target([[0, 0, float("nan"), 9]], [1]), "not finite"),
        (target([[0, 0, float("inf"), 9]], [1]), "not finite"),
        (target([[9, 9, 3, 3]], [1]), "give XYXY, not XYWH"),
        ({"boxes": torch.ones(1, 4, dtype=torch.bfloat16), "labels": [1]}, r"boxes'\] are torch.bfloat16.* float32"),
        ({"labels": torch.tensor([1])}, r"targets\[1\] has no 'boxes'"),
        ({"boxes": torch.zeros(0, 4)}, r"targets\[1\] has no 'labels'"),
        ({"boxes": torch.ones(4, 5), "labels": torch.ones(4).long()}, r"shape \(4, 5\); give \(N, 4\)"),
        ({"boxes": [[0, 0, 9, 9]], "labels": [1.9]}, r"targets\[1\]\['labels'\] are torch.float32; give integers"),
        ({"boxes": [[0, 0, 9, 9]] * 2, "labels": [[1], [2]]}, r"\['labels'\] has shape \(2, 1\); give one row per box"),
        ({"boxes": [[0, 0, 9, 9]], "labels": 1}, r"\['labels'\] has shape \(\)"),
        ({"boxes": [[0, 0, 9, 9]], "labels": [1], "iscrowd": [[0]]}, r"\['iscrowd'\] has shape \(1, 1\)"),
        ({"boxes": [[0, 0, 9], [0]], "labels": [1, 2]}, r"\['boxes'\] cannot be read \(.*\); give a tensor"),
        ({"boxes": [[0, 0, 9, 9]], "labels": ["cat"]}, r"\['labels'\] cannot be read"),
        (None, r"targets\[1\] is a NoneType; give a dict"),
    ],
)
def test_wrong_targets_are_one_line(wrong, message):
    with pytest.raises(UserError, match=message) as caught:
        dense([target([], []), wrong])
    assert "\n" not in str(caught.value)


def test_what_tasks_learn_from_is_carried_along_with_the_boxes():
    images = Preprocess(Config(min_size=None), 32)([torch.rand(3, 40, 40)] * 2)
    rows = [torch.tensor([[1, 2], [3, 4]]), torch.zeros(0, 2, dtype=torch.int64)]
    given = [
        {"boxes": torch.tensor([[0.0, 0, 9, 9]]).repeat(len(x), 1), "labels": torch.ones(len(x)).long(), "names": x}
        for x in rows
    ]
    found = batch_targets(given, images, 3, ["names"]).extras["names"]
    assert found.tolist() == [[[1, 2], [3, 4]], [[0, 0], [0, 0]]]
    del given[1]["names"]
    with pytest.raises(UserError, match=r"targets\[1\] has no 'names'; give boxes .*, names \(N, ...\)"):
        batch_targets(given, images, 3, ["names"])
    assert batch_targets(given, images, 3).extras == {}
    given[1]["names"] = torch.zeros(3, 2)
    with pytest.raises(UserError, match=r"has 0 boxes and 3 names"):
        batch_targets(given, images, 3, ["names"])


@pytest.mark.parametrize("first", [torch.zeros(0, dtype=torch.int64), torch.zeros(0, 9), torch.tensor([3])])
def test_fields_of_images_without_objects_may_have_any_shape_and_type(first):
    """The type is that which holds all values: a whole number in one image does not round those of another."""
    images = Preprocess(Config(min_size=None), 32)([torch.rand(3, 40, 40)] * 2)
    given = [target([[0, 0, 9, 9]] * len(x), [1] * len(x), names=x) for x in (first, torch.tensor([0.5]))]
    found = batch_targets(given, images, 3, ["names"]).extras["names"]
    assert found.tolist() == [[float(first[0]) if len(first) else 0.0], [0.5]]
    if len(first):
        given[0]["names"] = torch.ones(1, 2)
        with pytest.raises(UserError, match=r"targets\[0\]\['names'\] has shape \(1, 2\), but targets\[1\].*\(1,\)"):
            batch_targets(given, images, 3, ["names"])


@pytest.mark.parametrize("nothing", [torch.tensor([]), [], torch.zeros(0, 7, 7), Masks.encode(torch.zeros(0, 40, 60))])
def test_images_without_objects_have_no_masks(nothing):
    images = Preprocess(Config(min_size=None), 32)([torch.rand(3, 40, 60)])
    (masks,) = batch_targets([target([], [], masks=nothing)], images, 3, ["masks"]).extras["masks"]
    assert (len(masks), masks.size) == (0, (40, 60))
