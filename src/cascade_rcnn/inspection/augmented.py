"""Samples of the training set, as augmented by a recipe."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from cascade_rcnn.engine.training.data import Sources, read_data
from cascade_rcnn.images.tensors import to_pixels
from cascade_rcnn.inspection.labels import usable
from cascade_rcnn.inspection.splits import Split
from cascade_rcnn.recipes import Recipe

IMAGES, DRAWS = 4, 3


class Sample(NamedTuple):
    """A training image with the boxes (G, 4), XYXY in pixels, and labels (G,) of its target."""

    name: str
    draw: int  # 0: not augmented; 1, 2, ...: number of the random augmentation
    pixels: np.ndarray  # (H, W, 3) uint8
    boxes: Tensor
    labels: Tensor


def samples(
    split: Split, recipe: Recipe, *, images: int = IMAGES, draws: int = DRAWS, seed: int = 0
) -> Iterator[Sample]:
    """Yield images with objects, evenly spaced in the split, each unchanged and with `draws` random augmentations.

    Unusable images are skipped; yields nothing if the others have no boxes. Raises UserError as training would.
    """
    annotations = usable(split)
    if not len(annotations.boxes):
        return
    training = read_data(
        replace(recipe, data=replace(recipe.data, val="")), Sources(train=annotations), shown=False
    ).train
    plain = training.with_transforms(None)
    with_boxes = np.flatnonzero(training.annotations.first.diff().numpy() > 0)
    chosen = with_boxes[np.linspace(0, len(with_boxes) - 1, min(images, len(with_boxes))).round().astype(np.int64)]
    for i in chosen.tolist():
        name = training.annotations.file_names[i]
        for draw in range(draws + 1):
            image, target = training[i, seed + 1000 * i + draw] if draw else plain[i]
            yield Sample(name, draw, to_pixels(image), target["boxes"], target["labels"])
