"""Train one contender on one dataset: determine how many images fit into the time, train, and evaluate.

Time is processor time, summed over the threads of the process (`time.process_time`), so that it does not include other
work on the machine.
"""

import shutil
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.against import detr, ours, torchvision_models
from benchmarks.against.setting import BATCH, Contender, Detect, Setting, read_set, sides, stem, stream
from benchmarks.measure import peak_mb
from cascade_rcnn import find_recipe
from cascade_rcnn.data import Annotations
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.engine.predictor import Precision
from cascade_rcnn.evaluation import evaluate_boxes
from cascade_rcnn.files import write_json

CONTENDERS: dict[str, Contender] = {
    "starter": ours.from_recipe("quickstart"),
    "cascade": ours.from_backbone("small"),
    "baseline": ours.from_backbone("small_baseline"),
    "small": ours.from_recipe("small"),
    "small_baseline": ours.from_recipe("small_baseline"),
    "torchvision": torchvision_models.from_model(torchvision_models.version_1),
    "torchvision_v2": torchvision_models.from_model(torchvision_models.version_2),
    "torchvision_narrow": torchvision_models.from_model(torchvision_models.narrow),
    "torchvision_tuned": torchvision_models.from_model(torchvision_models.narrow, find_recipe("quickstart")),
    "torchvision_small": torchvision_models.from_model(torchvision_models.narrow, find_recipe("small")),
    "rtdetr": detr.contend,
}
_PROBE, _SETTLING = 10, 3  # number of updates to time, and how many of the first ones do not count
_EVALUATED = ("ap", "ap50", "ap75", "ap90")


def fitting(ticks: list[float], seconds: float) -> int:
    """Return how many images fit into the seconds, in whole batches, given the times at which updates ended."""
    taken = statistics.mean(after - before for before, after in pairwise(ticks[_SETTLING:]))
    return max(1, int(seconds / taken)) * BATCH


def run(
    data: str, weights: str, output: str, name: str, contender: str, seconds: float, precision: Precision, seed: int
) -> dict[str, Any]:
    """Train and evaluate, and write detections and metrics to `output`."""
    torch.set_num_threads(1)
    train, val = read_set(Path(data), name)
    fit, folder = CONTENDERS[contender], Path(output)
    title = stem(name, contender, seconds, precision, seed)
    ticks: list[float] = []

    def trained(length: int, where: str, tick: Callable[[], None]) -> Detect:
        own = folder / where
        shutil.rmtree(own, ignore_errors=True)  # left by an interrupted run
        setting = Setting(
            images=stream(train, length, seed, own / "links"), sides=sides(name), weights=Path(weights), seed=seed,
            precision=precision, folder=own / "training",
        )  # fmt: skip
        return fit(setting, tick)

    trained(_PROBE * BATCH, f"{title}-probe", lambda: ticks.append(time.process_time()))
    length = fitting(ticks, seconds)
    started = time.process_time()
    detect = trained(length, title, lambda: None)
    spent = time.process_time() - started
    memory = peak_mb()
    rows, milliseconds = detections(detect, val)
    np.save(folder / f"{title}.npy", rows)
    metrics = evaluate_boxes(val, rows).to_dict()
    figures: dict[str, Any] = {"set": name, "contender": contender, "seed": seed, "budget": seconds}
    figures |= {"precision": precision, "training_images": len(train), "images_seen": length}
    figures |= {"seconds": spent, "training_mb": memory, "milliseconds": milliseconds}
    figures |= {metric: metrics[metric] for metric in _EVALUATED}
    write_json(folder / f"{title}.json", figures)
    return figures


def detections(detect: Detect, truth: Annotations) -> tuple[np.ndarray, float]:
    """Run detection on every image; return rows for the evaluation, (N, 7), and the median milliseconds per image."""
    dataset, rows, taken = Dataset(truth), [np.zeros((0, 7))], []
    for i in range(len(dataset)):
        image, target = dataset[i]
        started = time.process_time()
        boxes, scores, labels = detect(image)
        taken.append(time.process_time() - started)
        rows.append(to_rows(int(target["image_id"]), boxes.numpy(), scores.numpy(), _ids(truth)[labels.numpy() - 1]))
    return np.concatenate(rows), 1000 * statistics.median(taken)


def _ids(truth: Annotations) -> np.ndarray:
    return np.array([category.id for category in truth.categories])


def to_rows(image: int, boxes: np.ndarray, scores: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """Convert the detections in an image (XYXY) to the evaluation's format: id, XYWH, score, category."""
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    columns = (np.full(len(boxes), image), boxes[:, :2], sizes, scores, categories)
    return np.column_stack(columns).astype(np.float64)
