"""Effect of each stage of the cascade on the boxes, and AP of each stage alone."""

from typing import NamedTuple

import numpy as np
import torch

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.engine.evaluate import coco_rows
from cascade_rcnn.engine.predictor import Precision, autocast
from cascade_rcnn.engine.progress import ProgressBar
from cascade_rcnn.evaluation import evaluate_boxes
from cascade_rcnn.evaluation.detected import COLUMNS
from cascade_rcnn.evaluation.heads import heads_for
from cascade_rcnn.evaluation.metrics import LIMIT
from cascade_rcnn.evaluation.quality import LocalizationCurve, steps
from cascade_rcnn.models.detector import Detector, to_list
from cascade_rcnn.models.modes import evaluating
from cascade_rcnn.models.targets import batch_targets


class StageRow(NamedTuple):
    """AP with the boxes of one stage, or with the model's own setting; 0 to 1."""

    name: str
    test_stage: int | None  # None: the model's own setting, usually the last stage with an ensemble of classifiers
    ap: float
    ap50: float
    ap75: float
    ap90: float


class Stages(NamedTuple):
    """Measurements of all stages on a sample of the images."""

    images: int
    boxes: int  # number of proposals with an IoU of at least 0.5 with an object
    iou: list[float]  # their mean IoU with the object, as proposals and after each stage; NaN without any
    edges: list[float]  # edges of the bins of proposal IoU
    counts: list[int]  # proposals in each bin
    by_bin: list[list[float]]  # mean IoU by bin, as proposals and after each stage; NaN for empty bins
    rows: list[StageRow]  # each stage alone, then the model's own setting


@torch.inference_mode()
def measure_stages(
    model: Detector, dataset: Dataset, most: int, *, precision: Precision = "fp32", limit: int = LIMIT
) -> Stages:
    """Run the detector on at most `most` images, evenly spaced in the dataset, and evaluate the boxes of each stage.

    `precision` is that of the detector's weights; the top `limit` detections per image and class count.
    """
    number = len(model.roi_heads.stages)
    settings: dict[int | None, dict] = {t: {"test_stage": t, "ensemble": False} for t in range(1, number + 1)}
    settings[None] = {}
    rows = {stage: [np.zeros((0, COLUMNS))] for stage in settings}
    curve = LocalizationCurve(number)
    images = np.unique(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().astype(int))
    context = autocast(model.preprocess.mean.device, precision)
    with evaluating(model), context, ProgressBar("stages", len(images), shown=True) as bar:
        heads = {stage: heads_for(model, setting) for stage, setting in settings.items()}
        for i in images.tolist():
            image, target = dataset[i]
            batch = model.preprocess([image])
            features = model.features(batch.pixels)
            proposals = model.propose(features, batch.sizes)
            pooled = model.roi_heads.lay_out(features)
            outputs = model.roi_heads.run(pooled, proposals.boxes, batch.sizes, number)  # once for all stages
            for stage, head in heads.items():
                if stage is None:
                    found = head(features, proposals, batch.sizes)
                else:
                    found, _ = head.detections(pooled, outputs[:stage], proposals.valid, batch.sizes)
                rows[stage].append(coco_rows(to_list(found, batch, model.config), [target], model.config))
            boxes = steps(model.roi_heads, outputs, batch.sizes)
            curve.add(boxes, proposals.valid, batch_targets([target], batch, model.config.num_classes))
            bar.advance(1, "")
    kept = np.isin(np.arange(len(dataset)), images)
    return _summary(dataset.annotations.select(kept), curve, {k: np.concatenate(v) for k, v in rows.items()}, limit)


def _summary(truth: Annotations, curve: LocalizationCurve, rows: dict[int | None, np.ndarray], limit: int) -> Stages:
    total = int(curve.count.sum())
    listed = []
    for stage, found in rows.items():
        metrics = evaluate_boxes(truth, found, limit=limit)
        name = f"stage {stage} alone" if stage else "the model's setting"
        listed.append(StageRow(name, stage, metrics.ap, metrics.ap50, metrics.ap75, metrics.ap90))
    return Stages(
        images=len(truth),
        boxes=total,
        iou=[float(step.sum() / total) if total else float("nan") for step in curve.total],
        edges=curve.BINS.tolist(),
        counts=curve.count.tolist(),
        by_bin=curve.mean.tolist(),
        rows=listed,
    )
