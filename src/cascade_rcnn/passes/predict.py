"""The steps from the user's images to `supervision.Detections`, which are the same for each kind of detector."""

from typing import TYPE_CHECKING, Any

import torch

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.images.inputs import ImageLike, Inputs
from cascade_rcnn.images.tensors import to_tensor
from cascade_rcnn.passes.choose import class_thresholds
from cascade_rcnn.passes.combine import PredictOptions, with_options
from cascade_rcnn.passes.interface import Detect, to_numpy
from cascade_rcnn.results import to_supervision, warn_of_reach

if TYPE_CHECKING:
    import supervision


def predict_with(
    detect: Detect,
    config: ModelConfig,
    given: Inputs,
    threshold: float,
    batch_size: int | None,
    device: torch.device,
    options: PredictOptions,
) -> Any:
    """Detect batch by batch, with the arguments and results of `Detector.predict`; `device` is the detector's."""
    names = config.class_names
    look = with_options(detect, config, **options)
    least = class_thresholds(names, options.get("thresholds", {}), threshold)
    warn_of_reach(min(least), config.inference.score_threshold)

    def detect_batch(batch: list[ImageLike]) -> "list[supervision.Detections]":
        found = look([to_tensor(image) for image in batch])
        return [to_supervision(to_numpy(one), names, least) for one in found]

    default = 8 if device.type == "cuda" else 1  # on a CPU, larger batches gain nothing
    return given.map(detect_batch, default if batch_size is None else batch_size)
