"""One pass over the images measures a checkpoint in all its settings; backbone and RPN run once for all of them.

B images · K boxes
"""

import copy
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cascade_rcnn.data import Annotations
from cascade_rcnn.data.loader import Batch
from cascade_rcnn.engine.evaluate import coco_rows, evaluation_loader
from cascade_rcnn.engine.logs import ProgressBar
from cascade_rcnn.engine.probe import seconds_per_update
from cascade_rcnn.engine.setup import launch, prepare
from cascade_rcnn.evaluation.coco import COLUMNS
from cascade_rcnn.evaluation.quality import LocalizationCurve, training_samples, trajectory
from cascade_rcnn.heads.cascade import Cascade
from cascade_rcnn.heads.iterative import iterative_bbox
from cascade_rcnn.models.detector import Detector, to_list
from cascade_rcnn.recipes import Recipe
from cascade_rcnn.structures import ImageBatch, Proposals, Targets
from cascade_rcnn.studies.runs import Setting

_SCATTER = 2000  # points a stage that Figure 2 shows
_HISTOGRAM = np.linspace(0.0, 1.0, 51)
_TIMED, _WARM_UP = 30, 3  # images


def heads_for(model: Detector, inference: Mapping[str, Any]) -> Cascade:
    """The heads of a detector under other test options; the weights are shared."""
    config = model.config.with_inference(**inference)
    if "iterations" in inference:
        stage, number = config.stages[0], len(config.stages)
        own, head = model.roi_heads, model.roi_heads.heads[0]
        options = (own.box_loss, config.semantics, config.sampling, config.inference, own.lay_out)
        heads = iterative_bbox(head, stage, number, *options)
        return heads.to(next(head.parameters()).device).eval()
    heads = copy.copy(model.roi_heads)
    heads.inference = config.inference
    return heads


@dataclass(frozen=True)
class Scene:
    """A batch of images as far as the heads."""

    images: ImageBatch
    features: list[Tensor]
    proposals: Proposals  # the RPN's
    truth: Targets
    targets: list[dict[str, Tensor]]
    handed_on: dict[tuple[bool, int], Proposals]  # by the cascade (True) or the model itself, into stage 1, 2, ...


def scenes(model: Detector, batches: Iterable[Batch], number: int) -> Iterator[Scene]:
    """Batch by batch, with a progress bar over `number` images (0: without)."""
    with ProgressBar("measure", number, shown=number > 0) as bar:
        for images, targets in batches:
            batch = model.preprocess(images)
            features = model.features(batch.pixels)
            proposals = model.propose(features, batch.sizes)
            truth = model.preprocess.targets(targets, batch)
            yield Scene(batch, features, proposals, truth, targets, {(False, 1): proposals})
            bar.advance(len(images), "")


def _inputs(scene: Scene, model: Detector, cascade: Detector | None, setting: Setting) -> Proposals:
    """The boxes that a setting asks for."""
    key = (setting.of_cascade, setting.inputs)
    if key not in scene.handed_on:
        pixels, sizes, last = scene.images.pixels, scene.images.sizes, setting.inputs - 1
        if setting.of_cascade:
            assert cascade is not None
            scene.handed_on[key] = cascade.proposals_after(last, pixels, sizes)
        else:
            scene.handed_on[key] = model.roi_heads.proposals_after(last, scene.features, scene.proposals, sizes)
    proposals = scene.handed_on[key]
    return proposals.with_truth(scene.truth) if setting.with_truth else proposals


@torch.inference_mode()
def detect_and_localize(
    model: Detector,
    batches: Iterable[Batch],
    settings: Sequence[Setting],
    steps: int,
    *,
    cascade: Detector | None = None,
    number: int = 0,
) -> tuple[dict[str, np.ndarray], LocalizationCurve | None]:
    """Detections (N, 7) of each setting, and the localization curve over `steps` steps (0: none).

    `cascade` is the model of the settings' `of_cascade`; `number` of images for the progress bar.
    """
    heads = {setting.name: heads_for(model, setting.inference) for setting in settings}
    rows = {setting.name: [np.zeros((0, COLUMNS))] for setting in settings}
    curve = LocalizationCurve(steps) if steps else None
    walked = heads_for(model, {"iterations": steps} if steps and len(model.config.stages) == 1 else {})
    for scene in scenes(model, batches, number):
        for setting in settings:
            inputs = _inputs(scene, model, cascade, setting)
            found = heads[setting.name](scene.features, inputs, scene.images.sizes, setting.first)
            rows[setting.name].append(coco_rows(to_list(found, scene.images), scene.targets, model.config))
        if curve is not None:
            boxes = trajectory(walked, scene.features, scene.proposals, scene.images.sizes)
            curve.add(boxes, scene.proposals.valid, scene.truth)
    return {name: np.concatenate(found) for name, found in rows.items()}, curve


def samples(model: Detector, truth: Annotations, number: int, batch_size: int, workers: int) -> dict[str, Any]:
    """Figures 2 and 4 in numbers, from the first `number` training images.

    For each stage: the histogram of the samples' IoU; for those of IoU >= .5 mean and deviation of equation 2 with
    and without the outliers (IoU below the stage's u), and a scatter of some of them.
    """
    loader = evaluation_loader(truth, batch_size, workers)
    chosen = list(islice(loader, -(-number // batch_size)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the first stage draws a sample
        found = training_samples(model, chosen)
    stages = [
        _stage(ious, deltas, stage.iou)
        for ious, deltas, stage in zip(found.ious, found.deltas, model.config.stages, strict=True)
    ]
    return {"images": sum(len(images) for images, _ in chosen), "edges": _HISTOGRAM.tolist(), "stages": stages}


def _stage(ious: np.ndarray, deltas: np.ndarray, u: float) -> dict[str, Any]:
    near = ious >= 0.5
    ious_near, deltas_near = ious[near], deltas[near]
    kept = ious_near >= u
    shown = np.random.default_rng(0).permutation(len(ious_near))[:_SCATTER]
    return {
        "u": u,
        "samples": len(ious),
        "histogram": np.histogram(ious, _HISTOGRAM)[0].tolist(),
        "percent_above": {f"{q:.1f}": 100 * float((ious >= q).mean()) if len(ious) else None for q in (0.5, 0.6, 0.7)},
        "near": int(near.sum()),
        "outliers": int((~kept).sum()),
        "mean": _moments(deltas_near[kept])[0],
        "std": _moments(deltas_near[kept])[1],
        "mean_with_outliers": _moments(deltas_near)[0],
        "std_with_outliers": _moments(deltas_near)[1],
        "scatter": np.round(deltas_near[shown], 4).tolist(),
        "scatter_is_outlier": (~kept[shown]).tolist(),
    }


def _moments(deltas: np.ndarray) -> tuple[list[float] | None, list[float] | None]:
    if not len(deltas):
        return None, None
    return deltas.mean(axis=0).tolist(), deltas.std(axis=0).tolist()


def training_seconds_per_image(recipe: Recipe) -> float:
    """A few updates, timed by themselves: the clock of a whole training counts its pauses, too."""
    with TemporaryDirectory() as folder:
        trial = replace(recipe, output=str(Path(folder) / "probe"))
        run, _ = prepare(trial, launch(trial), resume=False)
        return seconds_per_update(run) / (recipe.batch_size * recipe.accumulate)


@torch.inference_mode()
def seconds_per_image(model: Detector, truth: Annotations) -> float:
    """Median time of detecting in one image, from the pixels to the boxes; decoding the file is left out."""
    images = [image for (image,), _ in islice(evaluation_loader(truth, 1, 0), _TIMED)]
    times = []
    for image in [*images[:_WARM_UP], *images]:
        start = time.perf_counter()
        model([image])
        if image.is_cuda or next(model.parameters()).is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[min(_WARM_UP, len(images)) :])
