"""Models in all forms that the API accepts."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.engine.predictor import Precision, Predictor, detect_with_runtime
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import locate, without_wrappers
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.modes import evaluating
from cascade_rcnn.models.preprocess import MinSize
from cascade_rcnn.passes import Detect, Found
from cascade_rcnn.passes.interface import on_cpu
from cascade_rcnn.runtime import Runtime
from cascade_rcnn.text import printable

Model: TypeAlias = Detector | Predictor | Runtime | str | Path


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model ready for detection."""

    name: str  # for messages and records
    config: ModelConfig
    detect: Detect  # torchvision's interface, with CPU tensors and encoded masks
    settings: dict[str, Any]  # identify the model, to recognise its results
    detector: Detector | None = None  # None for exported files

    @property
    def class_names(self) -> list[str]:
        """The class names, of labels 1..M."""
        return self.config.class_names


def open_model(
    model: Model,
    *,
    device: str | None = None,
    precision: Precision = "fp32",
    min_size: MinSize = "model",
    trust: bool = False,
    **inference: float | None,
) -> Opened:
    """Wrap a detector, predictor or runtime, or open a checkpoint or exported file with these settings.

    The detector may be wrapped by `torch.compile` or for training on several devices; it is used without the wrapper.
    Settings in `inference` that are None keep the model's value. Raises UserError if settings are given for an object.
    """
    changes: dict[str, Any] = {name: value for name, value in inference.items() if value is not None}
    changes |= {} if min_size == "model" else {"min_size": min_size}
    if isinstance(model, str | Path):
        return _of_predictor(Predictor(str(model), device=device, precision=precision, trust=trust, **changes))
    others = {"device": device is not None, "precision": precision != "fp32", "trust": trust}
    if changed := [*changes, *(name for name, given in others.items() if given)]:
        raise UserError(f"{changed[0]}: cannot be set for a model given as an object; give the path of its file")
    match without_wrappers(model):
        case Predictor() as predictor:
            return _of_predictor(predictor)
        case Runtime() as runtime:
            return Opened(
                name=str(runtime.path),
                config=runtime.config,
                detect=partial(detect_with_runtime, runtime),
                settings={"precision": "fp32", **_file(runtime.path)},
            )
        case Detector() as detector:
            return Opened(
                name="the model",
                config=detector.config,
                detect=partial(_detect, detector),
                settings={"precision": "fp32", "weights": _digest(detector)},
                detector=detector,
            )
    raise UserError(f"cannot use {type(model).__name__} as a model; give a path, a Detector, a Predictor or a Runtime")


def _of_predictor(predictor: Predictor) -> Opened:
    return Opened(
        name=str(predictor.path),
        config=predictor.config,
        detect=predictor.detect,
        settings={"precision": predictor.precision, **predictor.inference, **_file(predictor.path)},
        detector=predictor.model if isinstance(predictor.model, Detector) else None,
    )


def _file(path: Path) -> dict[str, Any]:
    status = locate(path).stat()
    return {"checkpoint": printable(str(path)), "its size and time": (status.st_size, status.st_mtime_ns)}


def _digest(model: Detector) -> str:
    """Hash config and weights. Equal models have equal digests in all processes."""
    digest = hashlib.sha256(model.config.to_json().encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


@torch.inference_mode()
def _detect(model: Detector, images: list[Tensor], scale: float = 1.0) -> list[Found]:
    with evaluating(model):
        return [on_cpu(one) for one in model.find(images, scale)]
