"""A wrapper of user datasets, whose annotations are collected in one pass."""

from collections.abc import Callable, Mapping, Set
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from cascade_rcnn.boxes import area, to_xywh
from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.assemble import assemble
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.items import DetectionData, name_of, read_item
from cascade_rcnn.data.seeding import seeded
from cascade_rcnn.data.segmentations import encode, run_lengths
from cascade_rcnn.data.targets import PER_IMAGE, Sample, Target, per_box
from cascade_rcnn.data.workers import WorkerLoader, ignore_signals
from cascade_rcnn.errors import UserError

Labels: TypeAlias = Mapping[int, Category]  # the category of each label of a user's dataset


class WrappedDataset(Dataset):
    """A `Dataset` that reads a user's dataset and keeps all fields of its targets; labels become 1..M.

    `per_image` names the fields without a row per box, of which some items may by chance have as many rows as boxes.
    The sample's seed also controls randomness in the user's dataset. Without transforms, as in evaluation, item i is
    always the one from which its annotations were collected.
    """

    def __init__(self, source: DetectionData, annotations: Annotations, labels: Labels, per_image: Set[str]) -> None:
        super().__init__(annotations)
        self.source, self.per_image, self.checked = source, frozenset(per_image), False
        number = {category: k for k, category in enumerate(annotations.categories, start=1)}
        self._numbers = {label: number[category] for label, category in labels.items()}

    def for_evaluation(self) -> Self:
        """Return a copy that raises UserError for an item that has changed since its annotations were collected."""
        other = copy(self)
        other.checked = True
        return other

    def _read(self, i: int) -> Sample:
        with seeded(i if self.transforms is None else None):
            image, target = read_item(self.source, i)
        if self.checked:
            self._check_same(i, image, target)
        labels = torch.tensor([self._numbers[label] for label in target["labels"].tolist()], dtype=torch.int64)
        areas = torch.where(target["area"].isnan(), area(target["boxes"]), target["area"])
        changes = {"labels": labels, "area": areas, "image_id": self.annotations.image_ids[i].clone()}
        return image, target | changes | {PER_IMAGE: self.per_image}

    def _check_same(self, i: int, image: Tensor, target: Target) -> None:
        before, size = self.annotations.boxes[self.annotations.rows(i)], self.annotations.image_sizes[i].tolist()
        if list(image.shape[1:]) != size or not to_xywh(target["boxes"].double()).equal(before):
            raise UserError(
                f"{name_of(self.source)}, item {i}: its size or boxes have changed since it was first read, so "
                "detections cannot be compared with them; leave out random augmentation"
            )


def collect(
    source: DetectionData,
    labels: Labels | None = None,
    *,
    masks: bool = False,
    workers: int = 0,
    advance: Callable[[int], None] = lambda images: None,
) -> WrappedDataset:
    """Wrap a dataset: read every item once, in `workers` processes, to collect image sizes, boxes and labels.

    With `masks`, masks are collected as well. Without `labels`, labels range from 1 to the largest one found, and the
    classes are named "class 1" etc. `advance` is called with the number of images just read. Raises UserError if the
    dataset is empty, or naming an item that is invalid or has a label that is not in `labels`.
    """
    items: list[_Item] = []
    loader = WorkerLoader(
        _Items(source, masks),
        batch_size=None,
        num_workers=min(workers, len(source)),
        collate_fn=_unchanged,
        worker_init_fn=ignore_signals,
    )
    for item in loader:
        if isinstance(item, UserError):
            raise item
        items.append(item)
        advance(1)
    if not items:
        raise UserError(f"{name_of(source)}: the dataset is empty; give one with at least one image")
    if not any(len(item.boxes) for item in items):
        _check_keys(source)
    if labels is None:
        most = max((int(item.labels.max(initial=1)) for item in items), default=1)
        labels = {k: Category(id=k, name=f"class {k}") for k in range(1, most + 1)}
    _check_labels(source, items, labels)
    per_image = set().union(*(item.others for item in items))
    return WrappedDataset(source, _assemble(source, items, labels, masks), labels, per_image)


def _check_keys(source: DetectionData) -> None:
    """Raise UserError if the objects have other names, without which images count as those without objects."""
    keys = source[0][1].keys()
    if "boxes" not in keys and (others := sorted(map(str, keys - {"image_id"}))):
        raise UserError(
            f"{name_of(source)}: no target has boxes and labels (that of item 0 has {', '.join(others)}); give boxes "
            "(G, 4), XYXY in pixels, and labels (G,), which start at 1"
        )


class _Item(NamedTuple):
    size: tuple[int, int]  # height, width
    boxes: np.ndarray  # (G, 4) XYWH
    labels: np.ndarray
    areas: np.ndarray  # NaN where the dataset has none
    crowd: np.ndarray
    image_id: int | None
    outlines: list[bytes]  # of G objects, if requested
    others: frozenset[str]  # names of fields without a row per box


class _Items(TorchDataset):
    """The annotations of each item, or a UserError: raised in a worker, it would print a long traceback."""

    def __init__(self, source: DetectionData, masks: bool) -> None:
        self.source, self.masks = source, masks

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> _Item | UserError:
        try:
            with seeded(i):
                image, target = read_item(self.source, i)
        except UserError as error:
            return error
        return _Item(
            size=(image.shape[1], image.shape[2]),
            boxes=to_xywh(target["boxes"].double()).numpy(),
            labels=target["labels"].numpy(),
            areas=target["area"].numpy(),
            crowd=target["iscrowd"].numpy(),
            image_id=_image_id(target),
            outlines=_outlines(target) if self.masks else [],
            others=frozenset(target.keys() - per_box(target)),
        )


def _outlines(target: Target) -> list[bytes]:
    if "masks" not in target:
        return [b""] * len(target["boxes"])
    areas = target["masks"].areas().tolist()
    return [encode(one) if area else b"" for one, area in zip(run_lengths(target["masks"]), areas, strict=True)]


def _image_id(target: Target) -> int | None:
    identity = target.get("image_id")
    whole = identity is not None and identity.numel() == 1 and not identity.is_floating_point()
    return int(identity) if whole else None  # type: ignore[arg-type]


def _unchanged(item: Any) -> Any:
    return item


def _check_labels(source: DetectionData, items: list[_Item], labels: Labels) -> None:
    for i, item in enumerate(items):
        if odd := set(item.labels.tolist()) - labels.keys():
            known = ", ".join(map(str, sorted(labels)[:10])) + (", ..." if len(labels) > 10 else "")
            raise UserError(
                f"{name_of(source)}, item {i}: label {min(odd)} is not among {known} (0 is background); name all "
                "classes: classes={label: name}"
            )


def _assemble(source: DetectionData, items: list[_Item], labels: Labels, masks: bool) -> Annotations:
    categories = sorted(set(labels.values()), key=lambda category: category.id)
    number = {label: categories.index(category) + 1 for label, category in labels.items()}
    ids = [item.image_id for item in items]
    unique = None not in ids and len(set(ids)) == len(ids)
    found = np.concatenate([item.labels for item in items])
    return assemble(
        source=name_of(source),
        images_dir=Path(),
        categories=categories,
        image_ids=np.array(ids if unique else range(len(items))),
        image_sizes=np.array([item.size for item in items]),
        file_names=[f"item {i}" for i in range(len(items))],
        box_images=np.repeat(np.arange(len(items)), [len(item.boxes) for item in items]),
        boxes=np.concatenate([item.boxes for item in items]),
        areas=np.concatenate([item.areas for item in items]),
        labels=np.array([number[label] for label in found.tolist()], dtype=np.int64),
        ignore=np.concatenate([item.crowd for item in items]),
        ids=np.arange(1, len(found) + 1),
        segmentations=[one for item in items for one in item.outlines] if masks else None,
    )
