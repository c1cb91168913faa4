"""Training data, from the paths in a recipe or from Python objects."""

import filecmp
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cascade_rcnn.auto.survey import check_learned
from cascade_rcnn.data import Annotations, check_same_categories, load_annotations
from cascade_rcnn.data.augmentation.build import build_augmentation
from cascade_rcnn.data.augmentation.copy_paste import check_masks
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.names import exists
from cascade_rcnn.data.targets import Transforms
from cascade_rcnn.engine.datasets import Classes, Given, as_dataset, meaning
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.coco import evaluate_boxes
from cascade_rcnn.evaluation.detected import COLUMNS
from cascade_rcnn.evaluation.masks import unmeasured
from cascade_rcnn.recipes import DataConfig, Recipe
from cascade_rcnn.text import count

_NAMED = 5  # classes named in a note


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Objects that replace a recipe's data and augmentation."""

    train: Given | None = None
    val: Given | None = None
    classes: Classes | None = None  # class names of the datasets' labels
    transforms: Transforms | None = None  # from torchvision.transforms.v2, instead of the recipe's


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The checked datasets of a training run."""

    train: Dataset  # including transforms
    val: Dataset | None

    @property
    def notes(self) -> list[str]:
        """The notes for the user."""
        sets = [one.annotations for one in (self.train, self.val) if one is not None]
        train = [*self.train.annotations.notes, *_without_boxes(sets)]
        if self.val is None:
            missing = "no --data.val is given: the model is not evaluated, and there is no best.safetensors"
            return [*train, f"{missing}; `cascade-rcnn split` sets images aside"]
        found = self.val.annotations
        both = _both(self.train.annotations, found)
        more = [] if self.train.annotations.segmentations is None else unmeasured(found)
        return [*train, *found.notes, *both, *_not_learned(self.train.annotations, found), *more]


def _both(train: Annotations, val: Annotations) -> list[str]:
    """Return a note on images that are in both sets, as the same file or as copies with the same name.

    The images of a user's dataset class have no files.
    """
    if not exists(train.path(0)):
        return []
    known = set(_files(train))
    named = {os.path.basename(file): file for file in known}  # noqa: PTH119  (fast)
    number = sum(file in known or _is_copy(file, named) for file in _files(val))
    shared = f"{number} of {count(len(val), 'image')} are also training images"
    return [f"{val.source}: {shared}, so AP is higher than on new images"] if number else []


def _is_copy(file: str, named: dict[str, str]) -> bool:
    """Return whether the file of this name is the same, byte for byte; files of another length are not read."""
    other = named.get(os.path.basename(file))  # noqa: PTH119
    return other is not None and filecmp.cmp(file, other, shallow=False)


def _files(annotations: Annotations) -> Iterator[str]:
    folder = annotations.images_dir.absolute()
    return (os.path.join(folder, annotations.file_names[i]) for i in range(len(annotations)))  # noqa: PTH118  (fast)


def _not_learned(train: Annotations, val: Annotations) -> list[str]:
    """Return a note on classes that have boxes in the validation data only."""
    names = _names(train, _labels(val) - _labels(train))
    if not names:
        return []
    missing = f"{train.source}: has no boxes of {count(len(names), 'class')} that {val.source} has ({_listed(names)})"
    return [f"{missing}; AP is lower, as the model cannot learn to detect such objects"]


def _without_boxes(sets: Sequence[Annotations]) -> list[str]:
    """Return a note on classes that have boxes in none of the sets, such as a background class."""
    train = sets[0]
    names = _names(train, set(range(1, len(train.categories) + 1)).difference(*map(_labels, sets)))
    if not names:
        return []
    unused = f"{train.source}: {count(len(names), 'class')} without boxes ({_listed(names)})"
    return [f"{unused}; the model learns to find none"]


def _labels(annotations: Annotations) -> set[int]:
    return set(annotations.labels[~annotations.ignore].unique().tolist())


def _names(annotations: Annotations, labels: set[int]) -> list[str]:
    return [annotations.class_names[label - 1] for label in sorted(labels)]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")


def read_data(
    recipe: Recipe, sources: Sources | None = None, *, masks: bool = False, needed: bool = True, shown: bool = True
) -> TrainingData:
    """Load both datasets, with masks if the model learns them (`masks`) or the augmentation pastes them.

    `needed` requires masks to learn from in the training data, and `shown` displays progress. Raises UserError for
    data that cannot be used.
    """
    sources, data = sources or Sources(), recipe.data
    learned, masks = masks, masks or _pastes(recipe, sources)
    checks: dict[str, Any] = {**image_checks(recipe), "masks": masks, "shown": shown}
    train = as_dataset(
        given_train(data, sources, masks=masks, needed=learned and needed), meaning(sources.classes, None), **checks
    )
    check_learned(train.annotations)
    if learned and needed:
        _check_masks(train.annotations)
    given = _given_val(data, sources, train.annotations, masks=masks)
    val = None
    if given is not None:
        if isinstance(given, Annotations) and train.annotations.unused:  # here, but perhaps used there
            train = Dataset(train.annotations.declaring(given.categories), train.transforms)
        val = as_dataset(given, meaning(sources.classes, train.annotations.categories), evaluated=True, **checks)
        check_same_categories(train.annotations, val.annotations)
        _check_measured(val.annotations)
    return TrainingData(train=_augmented(train, recipe, sources), val=val)


def _check_measured(annotations: Annotations) -> None:
    """Raise UserError for validation data that cannot be evaluated, now rather than after an epoch."""
    if bool(annotations.ignore.all()):
        raise UserError(
            f"{annotations.source}: has no objects to detect, so AP cannot be measured; give validation data with "
            "boxes that are not ignored, or omit it"
        )
    evaluate_boxes(annotations, np.zeros((0, COLUMNS)))


def image_checks(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's settings for reading a dataset, as arguments of `as_dataset`."""
    data = recipe.data
    return {"bad_images": data.bad_images, "max_megapixels": data.max_megapixels, "workers": recipe.workers}


def _pastes(recipe: Recipe, sources: Sources) -> bool:
    """Return whether the recipe's augmentation needs masks."""
    return sources.transforms is None and build_augmentation(recipe.augmentation).needs_masks


def _augmented(train: Dataset, recipe: Recipe, sources: Sources) -> Dataset:
    """Return the dataset with the given transforms, or the recipe's augmentation."""
    if sources.transforms is not None:
        return train.with_transforms(sources.transforms)
    augmentation = build_augmentation(recipe.augmentation)
    if augmentation.needs_masks:
        filled = train.annotations.first.diff().nonzero()
        check_masks(train.with_transforms(None)[int(filled[0])][1])
    return train.with_transforms(augmentation)


def given_train(data: DataConfig, sources: Sources, *, masks: bool = False, needed: bool = True) -> Given:
    """Return the training data: the object in `sources`, or the annotations at the recipe's path.

    Raises UserError if there is no data, or no boxes or (if `masks` are `needed`) no masks in it.
    """
    if sources.train is not None:
        return sources.train
    if not data.train:
        raise UserError(
            "nothing to train on: give --data FOLDER, or --data.train ANNOTATIONS (COCO json, VOC folder or YOLO "
            "data.yaml)"
        )
    annotations = load_annotations(
        data.train, data.train_images, data.train_split, masks=masks, bad_images=data.bad_images
    )
    check_learned(annotations)  # before the images are checked, which takes longer
    if masks and needed:
        _check_masks(annotations)
    return annotations


def _check_masks(annotations: Annotations) -> None:
    if annotations.segmentations is None:
        number = count(len(annotations.boxes), "object")
        raise UserError(
            f"{annotations.source}: none of its {number} has a mask to learn from; give polygons or run lengths "
            "(COCO's `segmentation`, YOLO's polygon rows, VOC's SegmentationObject), or train a model without masks"
        )


def val_annotations(data: DataConfig, classes: Sequence[str], *, masks: bool = False) -> Annotations | None:
    """Read the validation data at the recipe's path, if any; `classes` are those of the training data.

    If none of a COCO file's images are where tools put them, they are looked up in the folder of the training images.
    """
    if not data.val:
        return None
    images, notes = data.val_images, []
    if not images and data.train_images and data.val.endswith(".json"):
        # The training images may have the same names, so their folder comes last.
        usual = load_annotations(data.val, bad_images="keep")
        i = next((i for i in range(len(usual)) if exists(usual.path(i))), None)
        if i is None:
            images = data.train_images
        else:
            notes = _which_folder(usual, i, Path(data.train_images).expanduser())
    found = load_annotations(data.val, images, data.val_split, classes, masks=masks, bad_images=data.bad_images)
    return found.with_notes(notes)


def _which_folder(annotations: Annotations, i: int, other: Path) -> list[str]:
    """Return a note for the user if image i, which exists, has a namesake in another folder."""
    namesake = other / annotations.file_names[i]
    if not exists(namesake) or namesake.samefile(annotations.path(i)):
        return []
    return [f"images are read from {annotations.images_dir}, not {other}; --data.val-images selects another folder"]


def _given_val(data: DataConfig, sources: Sources, train: Annotations, *, masks: bool) -> Given | None:
    val = sources.val
    if val is None:
        val = val_annotations(data, train.class_names, masks=masks)
    known = val if isinstance(val, Annotations) else getattr(val, "annotations", None)
    if isinstance(known, Annotations):
        known = known.declaring(train.categories)
        check_same_categories(train.declaring(known.categories), known)
    return val
