"""Verify exports: compare the exported file's detections with the detector's, on the same pixels.

D detections · S pixels per side of a mask
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from cascade_rcnn.boxes import iou
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.runtime import Description, Runtime
from cascade_rcnn.runtime.runtime import prepare
from cascade_rcnn.runtime.sessions import outputs
from cascade_rcnn.text import count

_SAME = 0.8  # IoU from which detections of the same class are considered the same
_LARGE = 100  # long side in pixels


class ImageDetections(NamedTuple):
    """One image's detections."""

    boxes: np.ndarray  # (D, 4)
    scores: np.ndarray  # (D,)
    labels: np.ndarray  # (D,)
    masks: np.ndarray | None = None  # (D, S, S): probabilities


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How much an export may differ from the detector."""

    boxes: float  # pixels
    relative: bool  # whether `boxes` is in percent of the long side for boxes longer than 100 pixels (rounded features)
    scores: float
    masks: float  # difference of probabilities, averaged over each mask
    missing: float  # fraction of detections that may lack a counterpart


TOLERANCES = {
    "fp32": Tolerance(boxes=0.1, relative=False, scores=1e-3, masks=0.005, missing=0.01),
    "fp16": Tolerance(boxes=2.0, relative=True, scores=0.02, masks=0.05, missing=0.05),
}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The largest differences over a set of images."""

    images: int = 0
    expected: int = 0  # number of the detector's detections
    found: int = 0  # number of the export's detections
    missing: int = 0  # number of detections without a counterpart
    boxes: float = 0.0  # pixels
    shift: float = 0.0  # pixels, but percent of the long side for large boxes
    scores: float = 0.0
    masks: float | None = None  # difference of probabilities, averaged over each mask; None without masks

    def __str__(self) -> str:
        masks = "" if self.masks is None else f", masks {self.masks:.2g}"
        return (
            f"{count(self.images, 'image')}, {self.found} of {self.expected} detections, {self.missing} without a "
            f"counterpart; largest difference: boxes {self.boxes:.2g} px, scores {self.scores:.2g}{masks}"
        )

    def check(self, tolerance: Tolerance) -> None:
        """Raise UserError if the tolerance is exceeded."""
        allowed = tolerance.missing * (self.expected + self.found)
        boxes = self.shift if tolerance.relative else self.boxes
        apart = boxes > tolerance.boxes or self.scores > tolerance.scores or (self.masks or 0.0) > tolerance.masks
        if apart or self.missing > allowed:
            masks = "" if self.masks is None else f", masks {tolerance.masks}"
            large = f", {tolerance.boxes} % of boxes longer than {_LARGE}" if tolerance.relative else ""
            raise UserError(
                f"the exported file's detections differ from the model's ({self}; limits: {tolerance.boxes} px{large}, "
                f"{tolerance.scores}{masks}, {allowed:.0f} without a counterpart); nothing was written: try another "
                "format or precision"
            )


class Expected(NamedTuple):
    """What an export should detect."""

    inputs: list[tuple[np.ndarray, np.ndarray]]  # batches: `images` and `sizes` of the graph
    detections: list[ImageDetections]  # of the detector, for each image of all batches


def expect(detector: Detector, description: Description, pictures: list[np.ndarray]) -> Expected:
    """Detect in each picture and, if the batch size is dynamic, in a batch of two.

    Raises UserError if the detector finds nothing, as there would be nothing to compare.
    """
    batches = [[picture] for picture in pictures]
    if description.size is None:
        batches.append(pictures[:2])
    config, settings = description.config.preprocess, (description.size, description.divisor)
    inputs = [prepare(batch, config, *settings) for batch in batches]
    found = [one for images, sizes in inputs for one in _split(_eager(detector, images, sizes))]
    if not any(len(one.boxes) for one in found):
        raise UserError("the model detects nothing in the images to verify on; give --images with objects it knows")
    return Expected(inputs, found)


def verify(expected: Expected, runtime: Runtime) -> Difference:
    """Compare an export with the detector, on the same images."""
    found = [one for images, sizes in expected.inputs for one in _split(runtime.run(images, sizes))]
    return compare(expected.detections, found)


@torch.inference_mode()
def _eager(detector: Detector, images: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, ...]:
    pixels = torch.from_numpy(images)
    pixels = pixels.flip(1) if detector.config.preprocess.bgr else pixels
    pixels = ((pixels - detector.preprocess.mean) / detector.preprocess.std).contiguous(
        memory_format=torch.channels_last
    )
    found = detector.detect(pixels, torch.from_numpy(sizes))
    names = outputs(detector.config)[3:]
    return tuple(x.numpy() for x in (*found[:3], *(found.extras[name] for name in names)))


def _split(found: tuple[np.ndarray, ...]) -> list[ImageDetections]:
    """Return each image's detections, without empty slots."""
    return [ImageDetections(*(x[one[2] > 0] for x in one)) for one in zip(*found, strict=True)]


def compare(expected: list[ImageDetections], found: list[ImageDetections]) -> Difference:
    """Compare detections image by image; each is matched to the unmatched one of its class with the highest IoU."""
    boxes, shift, scores, masks, missing = 0.0, 0.0, 0.0, 0.0, 0
    for one, other in zip(expected, found, strict=True):
        pairs = _pairs(one, other)
        missing += len(one.boxes) + len(other.boxes) - 2 * len(pairs)
        for i, j in pairs:
            apart = float(np.abs(one.boxes[i] - other.boxes[j]).max())
            side = float((one.boxes[i, 2:] - one.boxes[i, :2]).max())
            boxes, shift = max(boxes, apart), max(shift, apart * _LARGE / max(side, _LARGE))
            scores = max(scores, float(abs(one.scores[i] - other.scores[j])))
            if one.masks is not None and other.masks is not None:
                masks = max(masks, float(np.abs(one.masks[i] - other.masks[j]).mean()))
    return Difference(
        images=len(expected),
        expected=sum(len(x.boxes) for x in expected),
        found=sum(len(x.boxes) for x in found),
        missing=missing,
        boxes=boxes,
        shift=shift,
        scores=scores,
        masks=masks if any(one.masks is not None for one in expected) else None,
    )


def _pairs(one: ImageDetections, other: ImageDetections) -> list[tuple[int, int]]:
    overlap = iou(torch.from_numpy(one.boxes), torch.from_numpy(other.boxes)).numpy()
    overlap *= one.labels[:, None] == other.labels
    pairs = []
    for i in range(len(overlap)):  # best first
        j = int(overlap[i].argmax()) if overlap.shape[1] else -1
        if j >= 0 and overlap[i, j] >= _SAME:
            pairs.append((i, j))
            overlap[:, j] = 0
    return pairs
