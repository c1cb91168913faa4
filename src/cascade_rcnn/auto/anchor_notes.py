"""A warning if the model's anchors do not fit the boxes of the training set."""

import numpy as np

from cascade_rcnn.auto.anchors import ENOUGH, IOU, best_iou, fitting
from cascade_rcnn.auto.survey import survey
from cascade_rcnn.config import ModelConfig
from cascade_rcnn.data.annotations import Annotations

TINY = 8.0  # pixels
GOOD = 0.7  # IoU from which the RPN treats an anchor as positive


def anchor_notes(annotations: Annotations, config: ModelConfig) -> list[str]:
    """Return a line that suggests other anchors if too few boxes have an anchor of IoU 0.5, else an empty list.

    Box sizes are measured in the network's input, at the last of several image sizes.
    """
    data, preprocess = survey(annotations), config.preprocess
    short = preprocess.min_size
    shapes = data.shapes if short is None else data.resized(short[-1], preprocess.max_size)
    sizes = tuple(size for level in config.rpn.anchors.levels for size in level)
    best = best_iou(shapes, sizes, config.rpn.anchors.ratios)
    good, fair = (float((best >= iou).mean()) for iou in (GOOD, IOU))
    if fair >= ENOUGH:
        return []
    line = (
        f"the anchors do not fit the boxes: {100 * (1 - good):.0f} % of them have no anchor of IoU {GOOD:g}, "
        f"{100 * (1 - fair):.0f} % none of IoU {IOU:g}"
    )
    sides = np.sqrt(shapes.prod(axis=1))
    if (middle := float(np.median(sides))) < TINY:
        line = f"half of the boxes are smaller than {middle:.2g} pixels in resized images"
        return [f"{line}, too small for anchors; raise --options.min-size and --options.max-size, or train on tiles"]
    better = fitting(shapes, sizes, config.rpn.anchors.ratios)
    if better.share <= fair:
        return [f"{line}, and no others fit better; `cascade-rcnn look` shows these boxes"]
    wanted = " ".join(map(str, better.sizes)), " ".join(f"{ratio:g}" for ratio in better.ratios)
    line += f"; with --options.anchor-sizes {wanted[0]} --options.anchor-ratios {wanted[1]} "
    line += f"{100 * better.share:.0f} % have one of {IOU:g} (`train auto` chooses such anchors)"
    return [line]
