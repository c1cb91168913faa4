"""Evaluate a checkpoint in all its settings in one pass, in which the backbone and the RPN run only once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.data.loader import Batch
from cascade_rcnn.data.segmentations import run_lengths
from cascade_rcnn.engine.evaluate import coco_rows
from cascade_rcnn.engine.progress import ProgressBar
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.evaluation.heads import heads_for
from cascade_rcnn.evaluation.quality import LocalizationCurve, trajectory
from cascade_rcnn.models.detector import Detector, to_list
from cascade_rcnn.models.targets import batch_targets
from cascade_rcnn.structures import Detections, ImageBatch, Proposals, Targets
from cascade_rcnn_study.evaluation_settings import EvaluationSetting


@dataclass(frozen=True)
class Scene:
    """A batch of images with everything that is computed before the heads."""

    images: ImageBatch
    features: list[Tensor]
    proposals: Proposals  # the RPN's
    truth: Targets
    targets: list[dict[str, Tensor]]
    stage_inputs: dict[tuple[bool, int], Proposals]  # (of the cascade or else of the model, stage) -> its inputs


def scenes(model: Detector, batches: Iterable[Batch], number: int) -> Iterator[Scene]:
    """Run backbone and RPN batch by batch, with a progress bar for `number` images (0: no bar)."""
    with ProgressBar("measure", number, shown=number > 0) as bar:
        for images, targets in batches:
            batch = model.preprocess(images)
            features = model.features(batch.pixels)
            proposals = model.propose(features, batch.sizes)
            truth = batch_targets(targets, batch, model.config.num_classes)
            yield Scene(batch, features, proposals, truth, targets, {(False, 1): proposals})
            bar.advance(len(images), "")


def _inputs(scene: Scene, model: Detector, cascade: Detector | None, setting: EvaluationSetting) -> Proposals:
    """Return the boxes that a setting starts from, computed once for all settings."""
    key = (setting.of_cascade, setting.inputs)
    if key not in scene.stage_inputs:
        pixels, sizes, last = scene.images.pixels, scene.images.sizes, setting.inputs - 1
        if setting.of_cascade:
            assert cascade is not None
            scene.stage_inputs[key] = cascade.proposals_after(last, pixels, sizes)
        else:
            scene.stage_inputs[key] = model.roi_heads.proposals_after(last, scene.features, scene.proposals, sizes)
    proposals = scene.stage_inputs[key]
    return proposals.with_truth(scene.truth) if setting.with_truth else proposals


@torch.inference_mode()
def detect_and_localize(
    model: Detector,
    batches: Iterable[Batch],
    settings: Sequence[EvaluationSetting],
    steps: int,
    *,
    cascade: Detector | None = None,
    number: int = 0,
) -> tuple[dict[str, Detected], LocalizationCurve | None]:
    """Return the detections of each setting, with their masks, and the localization curve over `steps` steps (0: None).

    `cascade` refines the boxes for settings with `of_cascade`; the progress bar counts up to `number` images.
    """
    heads = {setting.name: heads_for(model, setting.inference) for setting in settings}
    parts: dict[str, list[Detected]] = {setting.name: [] for setting in settings}
    curve = LocalizationCurve(steps) if steps else None
    regressors = heads_for(model, {"iterations": steps} if steps and len(model.config.stages) == 1 else {})
    for scene in scenes(model, batches, number):
        for setting in settings:
            inputs = _inputs(scene, model, cascade, setting)
            found = heads[setting.name](scene.features, inputs, scene.images.sizes, setting.first)
            for task in model.tasks:
                found = task(scene.features, found)
            parts[setting.name].append(_detected(found, scene, model.config))
        if curve is not None:
            boxes = trajectory(regressors, scene.features, scene.proposals, scene.images.sizes)
            curve.add(boxes, scene.proposals.valid, scene.truth)
    return {name: Detected.join(found) for name, found in parts.items()}, curve


def _detected(found: Detections, scene: Scene, config: ModelConfig) -> Detected:
    """Convert the detections in a batch of images."""
    listed = to_list(found, scene.images, config, encode=True)
    masks = [mask for one in listed for mask in run_lengths(one["masks"])] if config.has_masks else None
    return Detected(coco_rows(listed, scene.targets, config), masks)
