"""The quality of boxes through the cascade: their IoU at each stage, and the targets and results of the regressors.

B images · K boxes · T stages · N_t boxes of stage t
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.errors import UserError
from cascade_rcnn.heads.cascade import Cascade
from cascade_rcnn.matching import match
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.modes import evaluating
from cascade_rcnn.models.targets import batch_targets
from cascade_rcnn.structures import Proposals, StageOutput, Targets, TrainedOn
from cascade_rcnn.text import count

Batches: TypeAlias = Iterable[tuple[list[Tensor], list[dict[str, Tensor]]]]

_ENOUGH = 1000  # positives for a mean and standard deviation to two digits


class RegressionTargets(NamedTuple):
    """Regression targets of the positives that each stage is trained on."""

    deltas: list[np.ndarray]  # T of (N_t, 4): unnormalised deltas (equation 2)
    ious: list[np.ndarray]  # T of (N_t,): IoU of the input box with the ground truth

    @property
    def mean(self) -> tuple[tuple[float, ...], ...]:
        """The means, for `ModelOptions.stage_means`."""
        return tuple(tuple(float(x) for x in stage.mean(axis=0)) for stage in self.deltas)

    @property
    def std(self) -> tuple[tuple[float, ...], ...]:
        """The standard deviations, for `ModelOptions.stage_stds`."""
        return tuple(tuple(float(x) for x in stage.std(axis=0)) for stage in self.deltas)

    @property
    def note(self) -> str | None:
        """Return a warning if a stage has too few positives for reliable statistics."""
        fewest = min(len(stage) for stage in self.deltas)
        return f"a stage has only {count(fewest, 'positive')}; measure on more images" if fewest < _ENOUGH else None


class StageSamples(NamedTuple):
    """The boxes from the detector's own proposals that each stage is trained on, without appended ground truth."""

    ious: list[np.ndarray]  # T of (N_t,): IoU of the input box with its ground truth; 0 in an image without objects
    deltas: list[np.ndarray]  # T of (N_t, 4): unnormalised deltas to it (equation 2)


def regression_targets(detector: Detector, batches: Batches) -> RegressionTargets:
    """Collect the regression targets (equation 2) of each stage's positives over batches of (images, targets).

    Proposals, appended ground truth and sampling are as in training. Raises UserError if a stage has no positives.
    """
    number = detector.roi_heads.trained
    deltas: list[list[Tensor]] = [[] for _ in range(number)]
    ious: list[list[Tensor]] = [[] for _ in range(number)]
    for t, trained in _trained_on(detector, batches):
        positive = trained.labels > 0
        deltas[t].append(box_ops.encode(trained.output.boxes, trained.truth)[positive].cpu())
        ious[t].append(trained.iou[positive].cpu())
    if any(sum(map(len, stage)) == 0 for stage in deltas):
        raise UserError("a stage has no positives on these images; use more images, or a trained model")
    return RegressionTargets([torch.cat(x).numpy() for x in deltas], [torch.cat(x).numpy() for x in ious])


def training_samples(detector: Detector, batches: Batches) -> StageSamples:
    """Collect the boxes that each stage is trained on (Figures 2 and 4): proposals, then earlier stages' outputs.

    Ground truth appended to the proposals, and boxes refined from it, are left out: the figures show what the detector
    makes of its own proposals.
    """
    number = detector.roi_heads.trained
    ious = [[torch.zeros(0)] for _ in range(number)]
    deltas = [[torch.zeros(0, 4)] for _ in range(number)]
    for t, trained in _trained_on(detector, batches):
        kept = trained.valid & ~trained.from_truth
        ious[t].append(trained.iou[kept].clamp(min=0).cpu())
        deltas[t].append(box_ops.encode(trained.output.boxes, trained.truth)[kept].cpu())
    return StageSamples([torch.cat(x).numpy() for x in ious], [torch.cat(x).numpy() for x in deltas])


@torch.no_grad()
def _trained_on(detector: Detector, batches: Batches) -> Iterator[tuple[int, TrainedOn]]:
    """Yield each stage (from 0) and what training would use there with these weights, batch by batch."""
    with _as_in_training(detector):
        for images, targets in batches:
            batch = detector.preprocess(images)
            truth = batch_targets(list(targets), batch, detector.config.num_classes)
            features = detector.features(batch.pixels)
            proposals = detector.propose(features, batch.sizes)
            yield from enumerate(detector.roi_heads.train_stages(features, proposals, truth, batch.sizes))


@contextmanager
def _as_in_training(detector: Detector) -> Iterator[None]:
    """Select as many proposals as in training, but keep batch norm in evaluation mode."""
    with evaluating(detector):
        detector.rpn.train()
        yield


def trajectory(cascade: Cascade, features: list[Tensor], proposals: Proposals, sizes: Tensor) -> list[Tensor]:
    """Return the proposals and each stage's output for them: T + 1 tensors (B, K, 4), clipped to the image."""
    return steps(cascade, cascade.run(features, proposals.boxes, sizes, len(cascade.stages)), sizes)


def steps(cascade: Cascade, outputs: Sequence[StageOutput], sizes: Tensor) -> list[Tensor]:
    """Return the inputs of stages 1..T and the output of the last: T + 1 tensors (B, K, 4), clipped to the image."""
    last_boxes = cascade.refine(len(outputs), outputs[-1], sizes)
    return [box_ops.clip(boxes, sizes) for boxes in (*(output.boxes for output in outputs), last_boxes)]


class LocalizationCurve:
    """Output IoU as a function of input IoU (Figures 1 (c) and 7 (a)), with proposals binned by IoU (`BINS`).

    It accumulates the number of proposals in each bin and, after steps 0 (the proposals themselves), 1, ..., T, their
    mean IoU with the object that they match.
    """

    BINS = np.linspace(0.5, 1.0, 11)

    def __init__(self, steps: int) -> None:
        self.count = np.zeros(len(self.BINS) - 1, np.int64)
        self.total = np.zeros((steps + 1, len(self.BINS) - 1))

    def add(self, boxes: list[Tensor], valid: Tensor, targets: Targets) -> None:
        """Add boxes as returned by `trajectory`; `valid` (B, K) masks the proposals."""
        matches = match(boxes[0], valid, targets, positive_iou=float(self.BINS[0]))
        truth = box_ops.gather(targets.boxes, matches.matched)
        number = np.digitize(matches.iou[matches.positive].cpu().double().numpy(), self.BINS[1:-1])
        self.count += np.bincount(number, minlength=len(self.count))
        for step, box in enumerate(boxes):
            reached = _pairwise_iou(box, truth)[matches.positive].cpu().double().numpy()
            self.total[step] += np.bincount(number, weights=reached, minlength=len(self.count))

    @property
    def mean(self) -> np.ndarray:
        """The mean IoU after each step, (T + 1, bins), NaN for empty bins; row 0 is that of the proposals."""
        with np.errstate(invalid="ignore"):
            return self.total / self.count

    def to_dict(self) -> dict[str, list]:
        """Convert to plain JSON values, with None for empty bins."""
        mean = [[None if np.isnan(x) else float(x) for x in row] for row in self.mean]
        return {"edges": self.BINS.tolist(), "count": self.count.tolist(), "mean": mean}


def _pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute the IoU of paired boxes: (..., 4), (..., 4) -> (...)."""
    return box_ops.iou(a[..., None, :].float(), b[..., None, :].float())[..., 0, 0]
