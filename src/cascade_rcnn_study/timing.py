"""Seconds per image, in training and at test (Table 6)."""

import statistics
import time
from itertools import islice

import torch

from cascade_rcnn.data import Annotations
from cascade_rcnn.engine.evaluate import evaluation_loader
from cascade_rcnn.engine.training.trial_run import seconds_per_update, trial_run
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.recipes import Recipe

_IMAGES, _WARM_UP = 30, 3


def training_seconds_per_image(recipe: Recipe) -> float:
    """Time a few updates; the duration of a whole training run would include its pauses."""
    with trial_run(recipe) as run:
        return seconds_per_update(run) / (recipe.batch_size * recipe.accumulate)


@torch.inference_mode()
def detection_seconds_per_image(model: Detector, truth: Annotations) -> float:
    """Return the median detection time for one image, from pixels to boxes, without decoding its file."""
    images = [image for (image,), _ in islice(evaluation_loader(truth, 1, 0), _IMAGES)]
    times = []
    for image in [*images[:_WARM_UP], *images]:
        start = time.perf_counter()
        model([image])
        if image.is_cuda or next(model.parameters()).is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[min(_WARM_UP, len(images)) :])
