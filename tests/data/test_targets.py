"""Per-box fields stay with their boxes, whatever the transforms."""

import pickle
from copy import copy, deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from cascade_rcnn.data.targets import PER_IMAGE, apply, inside, per_box, plain
from cascade_rcnn.errors import UserError

SIZE = (40, 60)
BOXES = torch.tensor([[2.0, 4, 12, 14], [30, 20, 50, 38], [40, 2, 58, 12], [5, 25, 15, 35]])


def sample() -> tuple[Tensor, dict[str, Tensor]]:
    """Return boxes that each have their own colour, mask and number."""
    image, masks = torch.zeros(3, *SIZE, dtype=torch.uint8), torch.zeros(4, *SIZE, dtype=torch.bool)
    for k, (left, top, right, bottom) in enumerate(BOXES.int().tolist()):
        image[:, top:bottom, left:right] = 50 * (k + 1)
        masks[k, top:bottom, left:right] = True
    target = {
        "boxes": BOXES.clone(),
        "labels": torch.arange(1, 5),
        "iscrowd": torch.tensor([0, 1, 0, 1]),
        "colour": 50 * torch.arange(1, 5),
        "masks": tv_tensors.Mask(masks),
        "image_id": torch.tensor(9),
        "size": torch.tensor(SIZE),
    }
    return image, target


def check(image: Tensor, target: dict[str, Tensor]) -> int:
    """Check that every box lies on its colour and that its other fields are its own."""
    for k, box in enumerate(target["boxes"].round().int().tolist()):
        row = int(target["labels"][k]) - 1
        centre = (box[1] + box[3]) // 2, (box[0] + box[2]) // 2
        assert int(image[0][centre]) == 50 * (row + 1) == int(target["colour"][k])
        assert target["masks"][k][centre]
        assert int(target["iscrowd"][k]) == row % 2
    assert int(target["image_id"]) == 9
    return len(target["boxes"])


@pytest.mark.parametrize(
    "transforms",
    [
        v2.RandomHorizontalFlip(1),
        v2.Compose([v2.Resize((80, 120)), v2.SanitizeBoundingBoxes()]),
        v2.ConvertBoundingBoxFormat("CXCYWH"),
        v2.Compose([v2.RandomHorizontalFlip(1), v2.ToDtype(torch.float32)]),
    ],
)
def test_all_boxes_stay(transforms):
    image, target = apply(transforms, *sample())
    assert check(image, target) == 4
    assert type(target["boxes"]) is Tensor


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sanitize", [True, False])
def test_what_is_cropped_away_goes_in_every_field(seed, sanitize):
    torch.manual_seed(seed)
    crop = v2.RandomIoUCrop(sampler_options=[0.5])
    transforms = v2.Compose([crop, v2.SanitizeBoundingBoxes()]) if sanitize else crop
    image, target = apply(transforms, *sample())
    left = check(image, target)
    assert {len(target[name]) for name in per_box(target)} == {left}


def test_sanitizing_with_a_getter_of_one_s_own():
    several = v2.SanitizeBoundingBoxes(
        min_size=11, labels_getter=lambda both: (both[1]["labels"], both[1]["iscrowd"], both[1]["colour"])
    )
    image, target = apply(several, *sample())
    assert check(image, target) == 1  # the second box; the others have a side of 10
    assert target["labels"].tolist() == [2]


@pytest.mark.parametrize(
    ("choose", "left"),
    [
        (lambda labels: labels != 2, [1, 3, 4]),
        (lambda labels: torch.isin(labels, torch.tensor([2, 4])), [2, 4]),
        (lambda labels: (labels > 1).nonzero().flatten(), [2, 3, 4]),
        (lambda labels: labels.argsort()[:3], [1, 2, 3]),
    ],
)
def test_rows_chosen_by_their_labels(choose, left):
    def only(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        kept = choose(target["labels"])
        return image, target | {name: target[name][kept] for name in ("boxes", "labels")}

    for transforms in (only, v2.Compose([v2.RandomHorizontalFlip(1), v2.SanitizeBoundingBoxes(), only])):
        image, target = apply(transforms, *sample())
        assert check(image, target) == len(left)
        assert target["labels"].tolist() == left
        assert type(target["labels"]) is Tensor


@pytest.mark.parametrize("others", [[], ["colour"], ["colour", "masks"]])
@pytest.mark.parametrize("most", [4, 3])
def test_boxes_in_another_order(others, most):
    """Fields that the transform has reordered itself stay as they are, and the others follow."""

    def largest_first(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        sizes = (target["boxes"][:, 2:] - target["boxes"][:, :2]).prod(1)
        order = sizes.argsort(descending=True, stable=True)[:most]
        target |= {name: target[name][order] for name in ("boxes", "labels", *others)}
        return image, target

    image, target = apply(largest_first, *sample())
    assert check(image, target) == most
    assert target["labels"].tolist() == [2, 3, 1, 4][:most]  # 360, 180, 100 and 100 pixels


def test_objects_may_get_each_other_s_labels():
    _, before = sample()
    _, target = apply(lambda image, target: (image, target | {"labels": target["labels"].flip(0)}), *sample())
    _, other = apply(lambda image, target: (image, target | {"labels": target["labels"][[3, 2, 1, 0]]}), *sample())
    assert target["labels"].tolist() == other["labels"].tolist() == [4, 3, 2, 1]
    for name in ("boxes", "colour", "iscrowd"):
        assert target[name].tolist() == other[name].tolist() == before[name].tolist()


@pytest.mark.parametrize("copied", [copy, deepcopy, lambda target: pickle.loads(pickle.dumps(target))])
def test_a_transform_may_copy_the_target(copied):
    def only(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        target = copied(target)
        kept = target["labels"] > 2
        return image, target | {name: target[name][kept] for name in ("boxes", "labels")}

    assert check(*apply(only, *sample())) == 2


def test_fields_of_the_image_have_no_rows():
    image, target = sample()
    target |= {"corners": torch.arange(4), PER_IMAGE: {"corners"}}
    _, left = apply(lambda image, target: (image, {**target, "labels": target["labels"][[1]]}), image, target)
    assert left["corners"].tolist() == [0, 1, 2, 3]
    assert set(per_box(left)) == {"boxes", "labels", "iscrowd", "colour", "masks"}
    assert plain(left).keys() == target.keys() - {PER_IMAGE}


def test_fields_that_no_longer_fit_are_refused():
    def drop(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return image, target | {"boxes": target["boxes"][:2]}

    with pytest.raises(UserError, match=r"returned .*'boxes': 2, 'labels': 4"):
        apply(drop, *sample())


def test_a_transform_may_replace_all_fields():
    def mosaic(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        doubled = {name: torch.cat([target[name]] * 2) for name in per_box(target)}
        return image, target | doubled

    image, target = apply(mosaic, *sample())
    assert check(image, target) == 8


def test_clipping_drops_a_row_everywhere_and_keeps_kinds():
    _, target = sample()
    target["boxes"][0] += 100
    left = inside(target, *SIZE)
    assert left["labels"].tolist() == [2, 3, 4]
    assert left["colour"].tolist() == [100, 150, 200]
    assert isinstance(left["masks"], tv_tensors.Mask)
    assert left["size"].tolist() == [*SIZE]


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        (lambda image, target: image, "the transforms returned .*; return an image tensor, and a dict"),
        (lambda image, target: (image.numpy(), target), "the transforms returned ndarray and dict"),
        (lambda image, target: (image, target | {"boxes": BOXES / 0}), r"a box \[inf, inf, inf, inf\]; return x1, y1"),
        (lambda image, target: (image, target | {"boxes": BOXES.flip(1)}), r"a box \[14.0, 12.0, 4.0, 2.0\]; return"),
        (lambda image, target: (image, target | {"boxes": BOXES[:, :3]}), r"returned boxes \(4, 3\); return \(G, 4\)"),
        (
            lambda image, target: (image, {"boxes": target["boxes"]}),
            "return an image tensor, and a dict with boxes",
        ),
    ],
)
def test_transforms_return_an_image_and_a_target(transforms, message):
    target = {"boxes": torch.tensor([[1.0, 1, 5, 5]]), "labels": torch.tensor([1])}
    with pytest.raises(UserError, match=message):
        apply(transforms, torch.zeros(3, 8, 8, dtype=torch.uint8), target)


@pytest.mark.parametrize("kind", [np.array, list])
def test_fields_may_come_back_as_arrays_and_lists(kind):
    """As from Albumentations."""
    fields = ("boxes", "labels", "iscrowd", "colour")

    def transforms(image, target):
        return image, target | {name: kind(target[name][kept].tolist()) for name in fields}

    for kept, number in ((slice(4), 4), (slice(0), 0)):
        image, target = sample()
        del target["masks"]
        _, found = apply(transforms, image, target)
        assert found["boxes"].equal(BOXES[kept])
        assert [len(found[name]) for name in fields] == [number] * 4
        assert found["labels"].dtype == torch.int64


def test_transforms_return_every_field():
    with pytest.raises(UserError, match="the transforms returned a target without colour, masks; return all of its"):
        apply(lambda image, target: (image, {name: target[name] for name in ("boxes", "labels", "iscrowd")}), *sample())


def test_an_exception_in_transforms_says_where_it_happened():
    target = {"boxes": torch.tensor([[1.0, 1, 5, 5]]), "labels": torch.tensor([1])}
    with pytest.raises(TypeError) as caught:
        apply(lambda image: image, torch.zeros(3, 8, 8, dtype=torch.uint8), target)
    assert caught.value.__notes__ == ["(in the transforms; they are given an image and its target, and return both)"]
