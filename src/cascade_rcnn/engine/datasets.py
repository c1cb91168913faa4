"""Data in the form of Python objects: annotations, or torchvision-style datasets."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from cascade_rcnn.arguments import converted
from cascade_rcnn.config import Category
from cascade_rcnn.data import Annotations, check_images
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.items import DetectionData, name_of
from cascade_rcnn.data.wrapped import Labels, collect
from cascade_rcnn.engine.progress import ProgressBar
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import MAX_MEGAPIXELS

Given: TypeAlias = Annotations | DetectionData
Data: TypeAlias = str | Path | Given  # paths are those that `load_annotations` reads
Classes: TypeAlias = Sequence[str] | Mapping[int, str]  # the names of labels 1, 2, ..., or names by label


def check_given(given: Any) -> None:
    """Raise UserError for anything that is neither annotations nor a dataset."""
    if not isinstance(given, Annotations | DetectionData) or isinstance(given, str | bytes | Mapping):
        raise UserError(
            f"cannot use {type(given).__name__} as data; give a path, annotations (cascade_rcnn.load_annotations), or "
            "a dataset with len(data) and data[i] -> (image, target)"
        )


def files_of(annotations: Annotations) -> Iterator[str | Path]:
    """Yield what annotations and images were read from, which outputs must not replace."""
    yield annotations.source
    yield from (annotations.path(i) for i in range(len(annotations)))


def check_names(classes: Classes | None, *given: Given | None) -> None:
    """Raise UserError if class names are given but none of the datasets needs them."""
    if classes is not None and all(isinstance(one, Annotations | Dataset | None) for one in given):
        raise UserError("classes: annotations have class names of their own; omit it")


def meaning(classes: Classes | None, categories: Sequence[Category] | None) -> Labels | None:
    """Map the labels of a dataset to categories: by class names or, without these, label l to the l-th category.

    Returns None if there are neither names nor categories. Raises UserError for a name that is not among `categories`.
    """
    if classes is None:
        return None if categories is None else dict(enumerate(categories, start=1))
    given = converted("classes", classes, dict[int, str] | list[str])
    names: dict[int, str] = given if isinstance(given, dict) else dict(enumerate(given, start=1))
    if categories is None:
        return {label: Category(id=label, name=name) for label, name in names.items()}
    known = {category.name: category for category in categories}
    if unknown := [name for name in names.values() if name not in known]:
        shown = ", ".join(map(repr, list(known)[:10]))
        raise UserError(f"classes: {unknown[0]!r} is not a class of the training data; choose from {shown}")
    return {label: known[name] for label, name in names.items()}


def as_dataset(
    given: Given,
    labels: Labels | None = None,
    *,
    masks: bool = False,
    bad_images: BadImages = "stop",
    max_megapixels: float = MAX_MEGAPIXELS,
    workers: int = 0,
    shown: bool = True,
    evaluated: bool = False,
) -> Dataset:
    """Wrap data in a dataset without transforms and check every image.

    `labels`, `masks` and `workers` are those of `collect`, `bad_images` and `max_megapixels` those of `check_images`,
    and `shown` displays progress. Images to be `evaluated` are also decoded if unusable ones are to be skipped: unlike
    training, an evaluation cannot take others instead. Raises UserError for data that cannot be used.
    """
    check_given(given)
    if type(given) is Dataset:
        if given.transforms is None:
            given = given.annotations
        else:
            labels = meaning(None, given.annotations.categories)
    if isinstance(given, Annotations):
        given = given if labels is None else given.declaring(labels.values())
        decode = evaluated and bad_images == "skip"
        return Dataset(check_images(given, bad_images=bad_images, max_megapixels=max_megapixels, decode=decode))
    with ProgressBar(f"reading {name_of(given)}", len(given), shown=shown) as bar:
        return collect(given, labels, masks=masks, workers=workers, advance=lambda images: bar.advance(images, ""))
