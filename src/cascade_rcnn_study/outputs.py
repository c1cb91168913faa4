"""Figure 1 (a, b): what a detector finds in a few validation images, with the images, as plain JSON values."""

from typing import Any

import torch
from torch import Tensor

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.data import Annotations
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.pages import data_uri

_IMAGES = 2
_FEWEST = 3  # objects of an image that is shown, if any image has as many
_LONGEST = 400  # pixels of the stored image; boxes are stored in pixels of the original one
_LEAST = 0.05  # score of a stored detection


def chosen_images(truth: Annotations) -> list[int]:
    """Choose the images whose smallest objects are the largest, so that boxes can be judged by eye.

    Only the annotations decide, so that all detectors are shown on the same images.
    """
    found = []
    for i in range(len(truth)):
        rows = truth.rows(i)
        sizes = truth.boxes[rows][~truth.ignore[rows]][:, 2:]
        if len(sizes):
            share = float(sizes.amin()) / float(truth.image_sizes[i].amax())
            found.append((min(len(sizes), _FEWEST), share, -i))
    return [-i for *_, i in sorted(found, reverse=True)[:_IMAGES]]


@torch.inference_mode()
def detection_outputs(model: Detector, truth: Annotations) -> list[dict[str, Any]]:
    """Detect in the chosen images: boxes XYXY, with their scores and best IoU with an object of their class."""
    return [_output(model, *Dataset(truth)[i], truth.file_names[i]) for i in chosen_images(truth)]


def _output(model: Detector, image: Tensor, target: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = model([image.to(next(model.parameters()).device)])
    boxes, scores, labels = (found[key].cpu() for key in ("boxes", "scores", "labels"))
    shown = scores >= _LEAST
    overlaps = box_ops.iou(boxes, target["boxes"].float()) * (labels[:, None] == target["labels"])
    best = overlaps.amax(dim=1) if overlaps.shape[1] else torch.zeros(len(boxes))
    return {
        "image": name,
        "size": [image.shape[2], image.shape[1]],
        "picture": data_uri(image.permute(1, 2, 0).numpy(), longest=_LONGEST),
        "truth": _rounded(target["boxes"]),
        "boxes": _rounded(boxes[shown]),
        "scores": _rounded(scores[shown]),
        "ious": _rounded(best[shown]),
    }


def _rounded(values: Tensor) -> list[Any]:
    return [[round(x, 1) for x in row] if isinstance(row, list) else round(row, 3) for row in values.tolist()]
