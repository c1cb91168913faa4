"""A warning before training if the anchors do not fit the boxes."""

from cascade_rcnn.auto.anchors import ENOUGH, IOU, coverage, fitting
from cascade_rcnn.auto.survey import survey
from cascade_rcnn.config import ModelConfig
from cascade_rcnn.data import Annotations

_MOST = 20_000  # boxes to compare with anchors


def anchor_notes(config: ModelConfig, annotations: Annotations) -> list[str]:
    """Return a note with better anchors if the model's cover fewer boxes at the training size than is usual."""
    data, size = survey(annotations), config.preprocess
    shapes = data.shapes if size.min_size is None else data.resized(size.min_size[-1], size.max_size)
    shapes = shapes[:: -(-len(shapes) // _MOST)]
    sizes = tuple(round(side) for level in config.rpn.anchors.levels for side in level)
    ratios = config.rpn.anchors.ratios
    if coverage(shapes, sizes, ratios) >= ENOUGH:
        return []
    better = fitting(shapes, sizes, ratios)
    share = coverage(shapes, sizes, ratios)
    if (better.sizes, better.ratios) == (sizes, ratios):
        advice = "no others fit better; `cascade-rcnn look` shows which boxes are left out"
    else:
        flags = f"--options.anchor-sizes {' '.join(map(str, better.sizes))}"
        if better.ratios != ratios:
            flags += f" --options.anchor-ratios {' '.join(f'{ratio:g}' for ratio in better.ratios)}"
        advice = f"{100 * better.share:.0f} % would have one with {flags}"
    return [f"only {100 * share:.0f} % of the boxes have an anchor of IoU {IOU:g} or more; {advice}"]
