"""Sizes and shapes of boxes in the network's input compared with its anchors, and findings about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cascade_rcnn.auto.anchor_notes import GOOD, TINY
from cascade_rcnn.auto.anchors import ENOUGH, IOU, best_iou, extents, fitting
from cascade_rcnn.auto.survey import learned
from cascade_rcnn.config import ModelConfig
from cascade_rcnn.inspection.findings import Finding, finding
from cascade_rcnn.inspection.splits import Split

_SOME = 0.01  # fraction of tiny boxes above which they are a finding
_SIDES = (8, 16, 32, 64, 128, 256, 512)  # pixels, bounds of the histogram
_RATIOS = (1 / 4, 1 / 2, 2 / 3, 3 / 2, 2, 4)  # height / width


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Number of boxes in a bin, and of those with an anchor of IoU 0.7 (good) and 0.5 (fair)."""

    name: str
    boxes: int
    good: int
    fair: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Sizes:
    """Sizes of the A boxes of the training set that are trained on, as the network sees them."""

    split: Split
    model: str  # name of the model whose anchors and image sizes apply
    resized: str  # description of the image size
    anchors: tuple[int, ...]
    ratios: tuple[float, ...]
    rows: np.ndarray  # (A,) in the annotations
    shapes: np.ndarray  # (A, 2): width and height in the network's input
    fits: np.ndarray  # (A,): IoU with the best anchor at the same centre

    @property
    def sides(self) -> np.ndarray:
        """The square root of each box's area, (A,)."""
        return np.sqrt(self.shapes.prod(axis=1))

    def without(self, iou: float) -> float:
        """Return the fraction of boxes without an anchor of this IoU; 0 if there are no boxes."""
        return float((self.fits < iou).mean()) if len(self.fits) else 0.0

    @property
    def by_side(self) -> list[Bin]:
        """The boxes by square root of the area, in pixels."""
        names = [f"below {_SIDES[0]}", *(f"{a} to {b}" for a, b in pairwise(_SIDES))]
        return self._bins(np.digitize(self.sides, _SIDES), [*names, f"{_SIDES[-1]} and more"])

    @property
    def by_shape(self) -> list[Bin]:
        """The boxes by aspect ratio."""
        names = ("wider than 4:1", "4:1 to 2:1", "2:1 to 3:2", "about square", "2:3 to 1:2", "1:2 to 1:4")
        return self._bins(np.digitize(self.shapes[:, 1] / self.shapes[:, 0], _RATIOS), [*names, "taller than 1:4"])

    @property
    def by_class(self) -> list[Bin]:
        """The boxes by class, in the order of the categories."""
        return self._bins(self.split.annotations.labels.numpy()[self.rows] - 1, self.split.annotations.class_names)

    def _bins(self, places: np.ndarray, names: Sequence[str]) -> list[Bin]:
        counts = [np.bincount(places[self.fits >= least], minlength=len(names)).tolist() for least in (0.0, GOOD, IOU)]
        return [
            Bin(name=name, boxes=boxes, good=good, fair=fair)
            for name, boxes, good, fair in zip(names, *counts, strict=True)
        ]


def measure(split: Split, config: ModelConfig, model: str) -> Sizes:
    """Resize the boxes of a split as training does (to the last of several sizes) and compare them with the anchors."""
    rows, shapes = learned(split.annotations)
    known = split.sized[rows]
    rows, shapes = rows[known], shapes[known]
    sides, resized = config.preprocess.min_size, "images not resized"
    if sides is not None:
        longest = config.preprocess.max_size
        images = split.annotations.image_sizes.numpy()[split.owners[rows]]
        scale = np.minimum(sides[-1] / images.min(axis=1), longest / images.max(axis=1))
        shapes, resized = shapes * scale[:, None], f"short side {sides[-1]}, long side at most {longest} pixels"
    anchors = tuple(size for level in config.rpn.anchors.levels for size in level)
    return Sizes(
        split=split,
        model=model,
        resized=resized,
        anchors=anchors,
        ratios=config.rpn.anchors.ratios,
        rows=rows,
        shapes=shapes,
        fits=best_iou(shapes, anchors, config.rpn.anchors.ratios),
    )


def size_findings(splits: Sequence[Split], sizes: Sizes, most: int) -> list[Finding]:
    """Return boxes that no anchor fits, tiny boxes, and images with more than `most` objects, the model's limit."""
    return [*_unfit(sizes), *_tiny(sizes), *_crowded(splits, most)]


def _unfit(sizes: Sizes) -> list[Finding]:
    if sizes.without(IOU) <= 1 - ENOUGH:
        return []
    better = fitting(sizes.shapes, sizes.anchors, sizes.ratios)
    shown = " ".join(map(str, better.sizes)), " ".join(f"{ratio:g}" for ratio in better.ratios)
    advice = (
        f"With --options.anchor-sizes {shown[0]} --options.anchor-ratios {shown[1]}, {100 * better.share:.0f} % of the "
        f"boxes have an anchor of IoU {IOU:g}, instead of {100 * (1 - sizes.without(IOU)):.0f} %. `train auto` does "
        "this for you."
    )
    records = []
    for k in np.argsort(sizes.fits, kind="stable")[: int((sizes.fits < IOU).sum())].tolist():
        width, height = sizes.shapes[k]
        detail = f"{width:.0f} x {height:.0f} pixels in the input; IoU {sizes.fits[k]:.2f} with the best anchor"
        records.append(sizes.split.box(int(sizes.rows[k]), detail))
    return finding("no_anchor", records, advice=advice)


def _tiny(sizes: Sizes) -> list[Finding]:
    sides = extents(sizes.shapes)
    if not len(sides) or (sides < TINY).mean() <= _SOME:
        return []
    smallest = np.argsort(sides, kind="stable")[: int((sides < TINY).sum())].tolist()
    detail = "{:.1f} x {:.1f} pixels in the input"
    records = [sizes.split.box(int(sizes.rows[k]), detail.format(*sizes.shapes[k])) for k in smallest]
    return finding("tiny_box", records)


def _crowded(splits: Sequence[Split], most: int) -> list[Finding]:
    crowded = []
    for split in splits:
        real = ~split.annotations.ignore.numpy()
        numbers = np.bincount(split.owners[real], minlength=len(split.annotations))
        crowded += [(-int(numbers[i]), split, int(i)) for i in np.flatnonzero(numbers > most)]
    crowded.sort(key=lambda one: one[0])
    return finding(
        "crowded_image", [split.image(i, f"{-n} objects; the model outputs at most {most}") for n, split, i in crowded]
    )
