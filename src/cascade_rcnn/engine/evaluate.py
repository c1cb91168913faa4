"""A model over a data set: detections as one array, and COCO's figures of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.data import Annotations, DetectionDataset, DetectionLoader, make_loader
from cascade_rcnn.engine.checkpoint import load
from cascade_rcnn.engine.logs import ProgressBar
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.detector import Detector

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """The context in which a model runs at this precision."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, _DTYPES[precision])


def choose_device(name: str | None) -> torch.device:
    """The device of this name, or a GPU where there is one. Raises UserError when it is not there."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name}: not usable here ({str(error).splitlines()[0]}); give cpu or cuda") from None
    return device


def check_classes(config: ModelConfig, annotations: Annotations, checkpoint: str | Path) -> None:
    """Raise UserError unless the model knows exactly the classes of the ground truth, by id and name."""
    ours, theirs = set(config.categories), set(annotations.categories)
    if ours != theirs:
        odd = min(ours ^ theirs, key=lambda category: category.id)
        raise UserError(
            f"{checkpoint}: the model has {len(ours)} classes, {annotations.source} {len(theirs)}, and they differ "
            f"(first at id {odd.id}, '{odd.name}'); evaluate on annotations with the classes that it was trained on"
        )


@torch.inference_mode()
def detect(
    model: Detector,
    loader: DetectionLoader,
    number: int,
    *,
    context: Callable[[], AbstractContextManager] = nullcontext,
    title: str = "evaluate",
    shown: bool = True,
) -> np.ndarray:
    """Run a detector over a loader: (N, 7) float64 rows image id, x, y, w, h, score, category id.

    `number` is how many images the loader yields.
    """
    was_training = model.training
    model.eval()
    categories = torch.tensor([0, *(c.id for c in model.config.categories)], dtype=torch.float64)
    rows = [torch.zeros((0, 7), dtype=torch.float64)]
    with ProgressBar(title, number, shown=shown) as bar:
        for images, targets in loader:
            with context():
                found = model(images)
            for one, target in zip(found, targets, strict=True):
                box = one["boxes"].double().cpu()
                image = target["image_id"].double().expand(len(box), 1)
                score, category = one["scores"].double().cpu(), categories[one["labels"].cpu()]
                rows.append(
                    torch.cat([image, box[:, :2], box[:, 2:] - box[:, :2], score[:, None], category[:, None]], 1)
                )
            bar.advance(len(images), "")
    model.train(was_training)
    return torch.cat(rows).numpy()


def evaluation_loader(
    annotations: Annotations, batch_size: int, workers: int, *, rank: int = 0, world_size: int = 1
) -> DetectionLoader:
    """Images in order, each once over all ranks."""
    return make_loader(
        DetectionDataset(annotations),
        batch_size=batch_size,
        workers=workers,
        seed=0,
        shuffle=False,
        rank=rank,
        world_size=world_size,
    )


def run_checkpoint(
    path: Path,
    annotations: Annotations,
    batch_size: int,
    workers: int,
    device: str | None,
    precision: Precision,
    inference: dict[str, Any],
) -> np.ndarray:
    """Detections (N, 7) of a checkpoint on all images; `inference` are `load`'s overrides."""
    place = choose_device(device)
    model = load(path, device=place, **inference)
    check_classes(model.config, annotations, path)
    loader = evaluation_loader(annotations, batch_size, workers)
    return detect(model, loader, len(annotations), context=lambda: autocast(place, precision))
