"""Detection in all images of a dataset, for evaluation."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cascade_rcnn.boxes import to_xywh
from cascade_rcnn.config import ModelConfig
from cascade_rcnn.data import Annotations
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.loader import DetectionLoader, make_loader
from cascade_rcnn.data.segmentations import binary, run_lengths
from cascade_rcnn.data.targets import Target
from cascade_rcnn.devices import choose_device
from cascade_rcnn.engine.predictor import Predictor
from cascade_rcnn.engine.progress import ProgressBar
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.evaluation.quality import RegressionTargets, regression_targets
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.modes import evaluating
from cascade_rcnn.passes import Found
from cascade_rcnn.text import count


def check_classes(config: ModelConfig, annotations: Annotations, checkpoint: str | Path) -> None:
    """Raise UserError unless the model has exactly the classes of the ground truth, by id and name."""
    ours, theirs = set(config.categories), set(annotations.categories)
    if ours != theirs:
        odd = min(ours ^ theirs, key=lambda category: (category.id, category not in theirs, category.name))
        if {one.name for one in ours} == {one.name for one in theirs} and len(ours) == len(theirs):
            which = ", ".join(str(one.id) for found in (ours, theirs) for one in found if one.name == odd.name)
            raise UserError(
                f"{checkpoint}: the model and {annotations.source} have the same classes with other ids (first: "
                f"'{odd.name}', {which}); change the ids in the annotations"
            )
        raise UserError(
            f"{checkpoint}: the model has {count(len(ours), 'class')} and {annotations.source} has {len(theirs)}, "
            f"which differ (first: id {odd.id}, '{odd.name}'); give annotations with the classes it was trained on"
        )


def detect(
    model: Detector,
    loader: DetectionLoader,
    number: int,
    *,
    context: Callable[[], AbstractContextManager] = nullcontext,
    shown: bool = True,
) -> Detected:
    """Run a detector on the `number` images of a loader, in evaluation mode; see `collect`."""

    def predict(images: list[Tensor]) -> list[Found]:
        with torch.inference_mode(), context():
            return model.find(images)

    with evaluating(model):
        return collect(predict, model.config, loader, number, shown=shown)


def collect(
    predict: Callable[[list[Tensor]], list[Found]],
    config: ModelConfig,
    loader: DetectionLoader,
    number: int,
    *,
    shown: bool = True,
) -> Detected:
    """Collect the detections in the `number` images of a loader, with masks as run lengths.

    `predict` has the interface of torchvision's detectors in evaluation mode; its masks may also be encoded.
    """
    parts: list[Detected] = []
    with ProgressBar("evaluate", number, shown=shown) as bar:
        for images, targets in loader:
            found = predict(images)
            masks = [mask for one in found for mask in run_lengths(binary(one["masks"]))] if _has_masks(found) else None
            parts.append(Detected(coco_rows(found, targets, config), masks))
            bar.advance(len(images), "")
    return Detected.join(parts)


def _has_masks(found: list[Found]) -> bool:
    return all("masks" in one for one in found)


def coco_rows(found: list[Found], targets: list[Target], config: ModelConfig) -> np.ndarray:
    """Convert detections in a batch, in torchvision's format, to image id, x, y, w, h, score, category id: (N, 7)."""
    categories = torch.tensor([0, *(c.id for c in config.categories)], dtype=torch.float64, device="cpu")
    rows = []
    for one, target in zip(found, targets, strict=True):
        box = to_xywh(one["boxes"].cpu().double())
        image = target["image_id"].double().expand(len(box), 1)
        score, category = one["scores"].cpu().double(), categories[one["labels"].cpu()]
        rows.append(torch.cat([image, box, score[:, None], category[:, None]], dim=1))
    return torch.cat(rows).numpy()


def evaluation_loader(
    data: Annotations | Dataset, batch_size: int, workers: int, *, rank: int = 0, world_size: int = 1
) -> DetectionLoader:
    """Make a loader of all images in order, each of them on exactly one rank."""
    return make_loader(
        Dataset(data) if isinstance(data, Annotations) else data.for_evaluation(),
        batch_size=batch_size,
        workers=workers,
        seed=0,
        shuffle=False,
        rank=rank,
        world_size=world_size,
    )


def run_predictor(predictor: Predictor, annotations: Annotations, batch_size: int, workers: int) -> Detected:
    """Return the detections in all images. Raises UserError unless the classes are those of the annotations."""
    check_classes(predictor.config, annotations, predictor.path)
    loader = evaluation_loader(annotations, batch_size, workers)
    return collect(predictor.detect, predictor.config, loader, len(annotations))


def measure_targets(
    path: str | Path, annotations: Annotations, batch_size: int, workers: int, device: str | None
) -> RegressionTargets:
    """Measure the regression targets of a checkpoint's stages on all images (Figure 2).

    Raises UserError unless the classes are those of the annotations.
    """
    place = choose_device(device)
    model = load(path, device=place)
    check_classes(model.config, annotations, path)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(0)  # the first stage samples randomly
        return regression_targets(model, evaluation_loader(annotations, batch_size, workers))
