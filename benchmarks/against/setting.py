"""The data and image sizes that all contenders share."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from cascade_rcnn.assets import CELLS
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.packed import PackedStrings
from cascade_rcnn.engine.predictor import Precision

BATCH = 4
ANCHORS = (16, 32, 64, 128, 256)  # for all contenders, as the usual anchors for 800 pixels are too large for 240
_SIDES = {"boards": (400, 400)}  # of the resized images: the short one, and the longest; of the other datasets:
_USUAL_SIDES = (240, 408)
SETS = {  # two splits each, as a path (for `cells`, within the package) and the name of the split if it needs one
    "cells": (("train.json", None), ("val.json", None)),
    "bccd": (("bccd", "train"), ("bccd", "val")),
    "person": (("coco_person/person_train.json", None), ("coco_person/person_val.json", None)),
    "nuclei": (("nuclei/train.json", None), ("nuclei/val.json", None)),
    "boards": (("boards/train.json", None), ("boards/val.json", None)),
    "coco80": (("coco_person/instances_train.json", None), ("coco_person/instances_val.json", None)),
}
_IMAGES = {"person": "coco_person/images", "coco80": "coco_person/images"}

Tick = Callable[[], None]
Detect = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]  # image (3, H, W) uint8 -> XYXY boxes, scores, labels 1..M


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The setting of a training run; `images` are the training images in the order of use, each to be used once."""

    images: Annotations
    sides: tuple[int, int]  # of the resized images: the short one, and the longest
    weights: Path  # of a ResNet-18 trained on ImageNet
    seed: int
    precision: Precision
    folder: Path  # for files of this run only


class Contender(Protocol):
    """Train, calling `tick` after each update, and return a function that detects."""

    def __call__(self, setting: Setting, tick: Tick) -> Detect: ...


def stem(name: str, contender: str, seconds: float, precision: str, seed: int) -> str:
    """Return the name of the files of a run, without a suffix."""
    return f"{name}-{contender}-{seconds:g}s-{precision}-{seed}"


def read_set(data: Path, name: str) -> tuple[Annotations, Annotations]:
    """Read the training and validation images of a dataset."""
    (train, train_split), (val, val_split) = SETS[name]
    images = data / _IMAGES[name] if name in _IMAGES else None
    data = CELLS if name == "cells" else data
    return (
        load_annotations(data / train, images=images, split=train_split),
        load_annotations(data / val, images=images, split=val_split),
    )


def sides(name: str) -> tuple[int, int]:
    """Return the short side of a dataset's resized images, and the longest."""
    return _SIDES.get(name, _USUAL_SIDES)


def order(images: int, length: int, seed: int) -> Tensor:
    """Return `length` indices: all images in random order, repeatedly, each time in a different order."""
    generator = torch.Generator().manual_seed(seed)
    rounds = [torch.randperm(images, generator=generator) for _ in range(-(-length // images))]
    return torch.cat(rounds)[:length]


def stream(annotations: Annotations, length: int, seed: int, links: Path) -> Annotations:
    """Return the images in `order`, as a dataset of `length` images with new ids.

    All contenders use each of them once, so none needs to divide the run into epochs. `links` gets a link to the image
    folder for each round, because a dataset that contains a file twice would be refused.
    """
    indices = order(len(annotations), length, seed).tolist()
    rows = torch.cat([torch.arange(*annotations.first[i : i + 2].tolist()) for i in indices])
    names = [f"{k // len(annotations)}/{annotations.file_names[i]}" for k, i in enumerate(indices)]
    links.mkdir(parents=True)
    for k in range(-(-length // len(annotations))):
        (links / str(k)).symlink_to(annotations.images_dir.resolve(), target_is_directory=True)
    columns = {name: getattr(annotations, name)[rows] for name in ("boxes", "areas", "labels", "ignore")}
    return dataclasses.replace(
        annotations,
        images_dir=links,
        image_ids=torch.arange(1, length + 1),
        image_sizes=annotations.image_sizes[indices],
        file_names=PackedStrings.pack(names),
        first=torch.cat((torch.zeros(1, dtype=torch.int64), annotations.first.diff()[indices].cumsum(0))),
        ids=torch.arange(1, len(rows) + 1),
        **columns,
    )


@dataclass(frozen=True)
class Batch:
    """The images of one update, not yet read."""

    dataset: Dataset
    indices: range

    def __len__(self) -> int:
        return len(self.indices)

    def samples(self) -> list[tuple[Tensor, dict[str, Any]]]:
        """Read images (uint8) with boxes (XYXY in pixels) and labels; half of the images, at random, are mirrored."""
        read = [_with_size(*self.dataset[i]) for i in self.indices]
        return [_mirrored(*sample) if torch.rand(()) < 0.5 else sample for sample in read]


def batches(setting: Setting) -> Iterator[Batch]:
    """Divide the images into batches, for contenders without a data loader of their own."""
    dataset = Dataset(setting.images)
    for first in range(0, len(dataset), BATCH):
        yield Batch(dataset, range(first, min(first + BATCH, len(dataset))))


def _with_size(image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    """Remove empty boxes, which torchvision refuses; BCCD has one."""
    left, top, right, bottom = target["boxes"].unbind(1)
    kept = (right > left) & (bottom > top)
    return image, {"boxes": target["boxes"][kept], "labels": target["labels"][kept], "image_id": target["image_id"]}


def _mirrored(image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    left, top, right, bottom = target["boxes"].unbind(1)
    width = image.shape[2]
    return image.flip(2), target | {"boxes": torch.stack((width - right, top, width - left, bottom), dim=1)}
