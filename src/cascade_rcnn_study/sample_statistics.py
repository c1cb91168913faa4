"""The numbers of Figures 2 and 4: statistics of the boxes that the stages of a cascade are trained on."""

from itertools import islice
from typing import Any

import numpy as np
import torch

from cascade_rcnn.data import Annotations
from cascade_rcnn.engine.evaluate import evaluation_loader
from cascade_rcnn.evaluation.quality import training_samples
from cascade_rcnn.models.detector import Detector

_SCATTER = 2000  # points per stage in Figure 2
_HISTOGRAM = np.linspace(0.0, 1.0, 51)


def sample_statistics(
    model: Detector, truth: Annotations, number: int, batch_size: int, workers: int
) -> dict[str, Any]:
    """Describe the training samples of each stage on the first `number` training images, as JSON values."""
    loader = evaluation_loader(truth, batch_size, workers)
    batches = list(islice(loader, -(-number // batch_size)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the first stage samples its proposals
        found = training_samples(model, batches)
    stages = [
        describe_stage(ious, deltas, stage.iou)
        for ious, deltas, stage in zip(found.ious, found.deltas, model.config.stages, strict=True)
    ]
    return {"images": sum(len(images) for images, _ in batches), "edges": _HISTOGRAM.tolist(), "stages": stages}


def describe_stage(ious: np.ndarray, deltas: np.ndarray, u: float) -> dict[str, Any]:
    """Describe the samples of one stage by their IoU (N,) and regression targets (N, 4, equation 2).

    The histogram covers all samples. Mean, std and scatter plot cover those with IoU >= .5; the outliers among them
    have an IoU below `u`.
    """
    near = ious >= 0.5
    ious_near, deltas_near = ious[near], deltas[near]
    kept = ious_near >= u
    shown = np.random.default_rng(0).permutation(len(ious_near))[:_SCATTER]
    (mean, std), (mean_of_all, std_of_all) = _mean_and_std(deltas_near[kept]), _mean_and_std(deltas_near)
    return {
        "u": u,
        "samples": len(ious),
        "histogram": np.histogram(ious, _HISTOGRAM)[0].tolist(),
        "percent_above": {f"{q:.1f}": 100 * float((ious >= q).mean()) if len(ious) else None for q in (0.5, 0.6, 0.7)},
        "near": int(near.sum()),
        "outliers": int((~kept).sum()),
        "mean": mean,
        "std": std,
        "mean_with_outliers": mean_of_all,
        "std_with_outliers": std_of_all,
        "scatter": np.round(deltas_near[shown], 4).tolist(),
        "scatter_is_outlier": (~kept[shown]).tolist(),
    }


def _mean_and_std(deltas: np.ndarray) -> tuple[list[float] | None, list[float] | None]:
    if not len(deltas):
        return None, None
    return deltas.mean(axis=0).tolist(), deltas.std(axis=0).tolist()
