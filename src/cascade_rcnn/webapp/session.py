"""Computations behind the page: from uploaded files to pictures, tables and results."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from cascade_rcnn.data.segmentations import run_lengths
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import decode_image
from cascade_rcnn.images.tensors import to_tensor
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.trace import Trace, trace
from cascade_rcnn.webapp.picture import Canvas, canvas, draw_stages, stage_name

_MOST = 20  # images per upload; `predict` is for folders


@dataclass(frozen=True)
class Named:
    """A detector with its name on the page."""

    name: str
    model: Detector

    @property
    def stages(self) -> int:
        """The number of stages that the detector runs."""
        return self.model.roi_heads.last


@dataclass
class Looked:
    """The uploaded images, and the detections of each model in them."""

    names: list[str] = field(default_factory=list)
    canvases: list[Canvas] = field(default_factory=list)
    traces: list[list[Trace]] = field(default_factory=list)  # by model, by image
    errors: list[str] = field(default_factory=list)
    folder: str = ""  # for the session's files


def look(
    models: Sequence[Named], paths: Sequence[str], progress: Callable[[float, str], object], folder: str
) -> Looked:
    """Run the models on uploaded images; for each unreadable one, add a line to `errors`."""
    looked = Looked(traces=[[] for _ in models], folder=folder)
    if len(paths) > _MOST:
        looked.errors.append(f"only the first {_MOST} of {len(paths)} images; use `cascade-rcnn predict` for folders")
    for number, path in enumerate(paths[:_MOST]):
        name = Path(path).name
        progress(number / len(paths), name)
        try:
            image = decode_image(path)
        except UserError as error:
            looked.errors.append(str(error).replace(str(path), name))
            continue
        for model, traces in zip(models, looked.traces, strict=True):
            traces.append(trace(model.model, to_tensor(image)))
        looked.names.append(name)
        looked.canvases.append(canvas(image))
    return looked


def pictures(
    looked: Looked, models: Sequence[Named], k: int, threshold: float, stage: int, *, every: bool
) -> list[tuple[PIL.Image.Image, str]]:
    """Return the images with model k's boxes and captions, at one stage or (`every`) at all stages up to it."""
    stage = min(stage, models[k].stages)
    stages = list(range(stage + 1)) if every else [stage]
    made = []
    for name, drawn_on, one in zip(looked.names, looked.canvases, looked.traces[k], strict=True):
        shown = one.above(threshold)
        picture = draw_stages(drawn_on, shown, models[k].model.class_names, stages)
        mean = shown.ious[:, stage].mean() if len(shown.scores) else 0.0
        what = f"mean IoU with the final boxes {mean:.2f}" if len(shown.scores) else "no detections"
        made.append((picture, f"{name}: {stage_name(stage)}, {what}"))
    return made


def table(looked: Looked, model: Named, k: int, threshold: float) -> tuple[list[str], list[list[Any]]]:
    """Return headings and one row per detection: the score at each stage, and the IoU of consecutive boxes."""
    headings = ["image", "class", "score", *(f"score {t}" for t in range(1, model.stages + 1))]
    headings += [f"IoU {t} to {t + 1}" for t in range(model.stages)]
    rows = []
    for name, one in zip(looked.names, looked.traces[k], strict=True):
        shown = one.above(threshold)
        for row in range(len(shown.scores)):
            label = model.model.class_names[shown.labels[row] - 1]
            between = _between(shown.boxes[row])
            numbers = [shown.scores[row], *shown.stage_scores[row], *between]
            rows.append([name, label, *(round(float(x), 3) for x in numbers)])
    return headings, rows


def _between(path: np.ndarray) -> np.ndarray:
    """Compute the IoU of consecutive boxes: (T + 1, 4) -> (T,)."""
    low, high = np.maximum(path[:-1, :2], path[1:, :2]), np.minimum(path[:-1, 2:], path[1:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    area = (path[:, 2:] - path[:, :2]).prod(axis=1)
    return shared / np.maximum(area[:-1] + area[1:] - shared, 1e-12)


def write_json(looked: Looked, model: Named, k: int, threshold: float) -> str:
    """Write COCO results, with earlier boxes in `stages` (proposal first), to the folder and return the file's path."""
    rows = []
    for number, (name, one) in enumerate(zip(looked.names, looked.traces[k], strict=True), start=1):
        shown = one.above(threshold)
        boxes = np.concatenate([shown.boxes[..., :2], shown.boxes[..., 2:] - shown.boxes[..., :2]], axis=-1)
        masks = [None] * len(boxes) if shown.masks is None else run_lengths(shown.masks)
        columns = zip(boxes.tolist(), shown.scores.tolist(), shown.labels.tolist(), masks, strict=True)
        for box, score, label, mask in columns:
            outline = {} if mask is None else {"segmentation": {**mask, "counts": mask["counts"].decode()}}
            category = model.model.config.categories[label - 1]
            rows.append(
                {
                    "image_id": number,
                    "file_name": name,
                    "category_id": category.id,
                    "category_name": category.name,
                    "bbox": box[-1],
                    "score": score,
                    **outline,
                    "stages": box[:-1],
                }
            )
    path = Path(looked.folder) / f"detections-{k + 1}.json"
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    return str(path)
