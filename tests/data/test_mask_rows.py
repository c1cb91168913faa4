"""Encoded masks are transformed like dense ones, whatever the transform."""

import pytest
import torch
import torchvision
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional
from torchvision.transforms.v2.functional import _utils

from cascade_rcnn.data import mask_rows
from cascade_rcnn.data.augmentation.build import build_transforms
from cascade_rcnn.data.augmentation.scale import LargeScaleJitter
from cascade_rcnn.data.mask_rows import MaskRows, moves_rows
from cascade_rcnn.data.targets import apply, inside, masks_as_crowds
from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks

SIZE = (48, 64)
BOXES = torch.tensor([[2.0, 4, 42, 34], [30, 20, 50, 38], [0, 0, 64, 48], [5, 25, 15, 35]])


def sample(encoded: bool) -> tuple[Tensor, dict]:
    """Return random blobs, each inside its box."""
    generator = torch.Generator().manual_seed(5)
    dense = torch.zeros(4, *SIZE, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(dense, BOXES.int().tolist(), strict=True):
        mask[top:bottom, left:right] = torch.rand(bottom - top, right - left, generator=generator) < 0.6
    masks = Masks.encode(dense) if encoded else tv_tensors.Mask(dense)
    target = {"boxes": BOXES.clone(), "labels": torch.arange(1, 5), "iscrowd": torch.zeros(4, dtype=torch.int64)}
    return torch.randint(256, (3, *SIZE), generator=generator, dtype=torch.uint8), target | {"masks": masks}


class Mirror(v2.Transform):
    """A user's own transform."""

    def transform(self, inpt, params):
        return functional.horizontal_flip(inpt)


@pytest.mark.parametrize(
    "transforms",
    [
        v2.RandomHorizontalFlip(1),
        v2.RandomVerticalFlip(1),
        v2.Resize((30, 81)),
        v2.Resize([24], max_size=40),
        v2.RandomCrop((33, 40)),
        v2.RandomCrop((60, 70), pad_if_needed=True),
        v2.Pad([3, 1, 7, 0]),
        v2.Pad(4, fill=1),
        v2.RandomZoomOut(p=1),
        v2.RandomIoUCrop(),
        v2.ScaleJitter((50, 50)),
        v2.RandomResizedCrop((32, 32)),
        v2.CenterCrop(40),
        v2.RandomRotation(30),
        v2.RandomAffine(20, translate=(0.2, 0.1)),
        v2.RandomPerspective(p=1),
        pytest.param(
            v2.ElasticTransform(),
            marks=pytest.mark.xfail(
                torchvision.__version__ < "0.29", raises=IndexError, reason="torchvision fails on boxes at the border"
            ),
        ),
        v2.RandomPhotometricDistort(),
        v2.Compose([v2.RandomCrop((30, 30)), v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes()]),
        v2.Compose([v2.RandomCrop((40, 40)), Mirror(), v2.Resize((50, 50))]),
        v2.RandomApply([Mirror()], p=1),
        build_transforms(flip=1, photometric=0.5),
        build_transforms(jitter=(0.3, 1.5), jitter_size=64),
        lambda image, target: (image.flip(-1), target | {"masks": target["masks"].flip(-1)}),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_encoded_masks_become_what_dense_ones_become(transforms, seed, monkeypatch):
    monkeypatch.setattr(mask_rows, "_PIXELS", 2 * SIZE[0] * SIZE[1])  # two objects at a time
    torch.manual_seed(seed)
    image, target = apply(transforms, *sample(encoded=True))
    torch.manual_seed(seed)
    expected_image, expected = apply(transforms, *sample(encoded=False))
    assert image.equal(expected_image)
    left = expected["masks"].as_subclass(Tensor).bool().flatten(1).any(1)  # objects without any pixel are dropped
    assert target["labels"].equal(expected["labels"][left])
    assert target["boxes"].equal(expected["boxes"][left])
    assert target["masks"].dense().bool().equal(expected["masks"].as_subclass(Tensor)[left].bool())


def test_torchvision_has_no_other_function_of_masks():
    """A new one would have to be registered; otherwise it would not transform encoded masks."""
    registry = _utils._KERNEL_REGISTRY
    missing = {function.__name__ for function, kernels in registry.items() if tv_tensors.Mask in kernels} - {
        function.__name__ for function, kernels in registry.items() if MaskRows in kernels
    }
    assert missing == {"to_dtype"}  # not a geometric transform


def test_who_gets_dense_masks():
    seen = []

    def look(image: Tensor, target: dict) -> tuple[Tensor, dict]:
        seen.append(type(target["masks"]))
        return image, target

    apply(v2.Compose([v2.RandomHorizontalFlip(), look, LargeScaleJitter((1, 1), 64)]), *sample(encoded=True))
    assert seen == [tv_tensors.Mask]
    assert moves_rows(build_transforms(0.5, 0.5, (0.5, 1)))
    assert moves_rows(v2.Lambda(torch.abs, tv_tensors.Image))
    assert not moves_rows(v2.Lambda(torch.abs))
    assert not moves_rows(v2.ToPureTensor())
    assert not moves_rows(Mirror())


def test_masks_of_another_size_than_the_image_are_refused():
    with pytest.raises(UserError, match="an image of 64 x 24, but masks of 64 x 48"):
        apply(lambda image, target: (image[:, :24], target), *sample(encoded=True))
    with pytest.raises(UserError, match=r"masks of shape \(48, 64\)"):
        apply(lambda image, target: (image, target | {"masks": target["masks"][0]}), *sample(encoded=True))


def test_an_object_is_dropped_with_the_last_of_its_mask_but_a_crowd_stays():
    """The window overlaps the box of a ring but none of its pixels."""
    dense = torch.zeros(3, 20, 20, dtype=torch.uint8)
    dense[0, 0], dense[0, :, 0] = 1, 1
    dense[1] = dense[0]
    target = {
        "boxes": torch.tensor([[0.0, 0, 20, 20]]).repeat(3, 1),
        "labels": torch.tensor([1, 2, 3]),
        "iscrowd": torch.tensor([0, 1, 0]),
        "masks": Masks.encode(dense),
    }
    target = masks_as_crowds(target)
    assert target["iscrowd"].tolist() == [0, 1, 1]  # the third has no mask
    whole = inside(target, 20, 20)
    assert whole["labels"].tolist() == [1, 2, 3]
    cut = v2.Lambda(lambda inpt: functional.crop(inpt, 10, 10, 10, 10))
    _, left = apply(cut, torch.zeros(3, 20, 20, dtype=torch.uint8), whole)
    assert left["labels"].tolist() == [2, 3]
    assert len(left["masks"]) == 2
