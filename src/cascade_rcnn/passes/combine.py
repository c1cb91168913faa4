"""Prediction options that wrap a detector in passes."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

from cascade_rcnn.arguments import as_list, check_choice, known_options
from cascade_rcnn.config import ModelConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.passes.augment import Augmented
from cascade_rcnn.passes.choose import Chosen
from cascade_rcnn.passes.interface import Detect
from cascade_rcnn.passes.tiles import Tiled

OVERLAP = 0.2  # default, as a fraction of a tile's side


class PredictOptions(TypedDict, total=False):
    """Options for how `predict` processes images, and which detections it keeps.

    >>> found = load("starter").predict("photo.jpg", tta=["flip"], classes=["person"])
    >>> set(found.data["class_name"].tolist())
    {'person'}
    """

    tiles: int | None  # side of square tiles in pixels; None: no tiles
    overlap: float  # minimum overlap of neighbouring tiles, as a fraction of their side; default: 0.2
    tta: Sequence[Literal["flip"]]  # also detect in the mirror image
    tta_scales: Sequence[float]  # also detect at these multiples of the model's image size
    classes: Sequence[str]  # keep only these
    thresholds: Mapping[str, float]  # minimum scores by class, which replace the common threshold


@known_options
def with_options(detect: Detect, config: ModelConfig, **options: Unpack[PredictOptions]) -> Detect:
    """Wrap a detector: test-time augmentation within tiles, then filters by class.

    Raises UserError for an unknown option or value.
    """
    views, scales = as_list("tta", options.get("tta"), "['flip']"), as_list("tta_scales", options.get("tta_scales"))
    classes = as_list("classes", options.get("classes"))
    for view in views:
        check_choice("tta", view, ["flip"])
    flip = bool(views)
    if flip or scales:
        detect = Augmented(detect, flip, scales, config.inference)
    side, overlap = options.get("tiles"), options.get("overlap", OVERLAP)
    if side is not None:
        detect = Tiled(detect, side, overlap, config.inference)
    elif overlap != OVERLAP:
        raise UserError("overlap is that of tiles; give tiles, or omit it")
    thresholds = options.get("thresholds", {})
    if classes or thresholds:
        detect = Chosen(detect, config.class_names, classes, thresholds)
    return detect


def given_options(options: PredictOptions) -> dict[str, Any]:
    """Return the options that differ from their defaults, for the record of a prediction."""
    return {name: value for name, value in options.items() if value or (name == "overlap" and options.get("tiles"))}
