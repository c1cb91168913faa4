"""A picklable predictor over images: a checkpoint or an exported file by its path."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.images import ImageLike, to_tensor
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.runtime import SUFFIXES, Runtime

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """The context in which a model runs at this precision."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, DTYPES[precision])


def choose_device(name: str | None) -> torch.device:
    """The device of this name, or a GPU where there is one. Raises UserError when it is not there."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name}: not usable here ({str(error).splitlines()[0]}); give cpu or cuda") from None
    return device


class Predictor:
    """A detector by its file: a call maps a list of images to a list of dicts, as torchvision's detectors do.

    It pickles as a path and a few settings and loads the model where it is first called, so that a pool of processes
    or a Ray data pipeline can map it over shards.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str | None = None,
        precision: Precision = "fp32",
        **inference: Any,
    ) -> None:
        """A checkpoint, or a file that `cascade-rcnn export` wrote (.onnx, .xml, .pt2).

        The device defaults to a GPU where there is one; `inference`: what `cascade_rcnn.load` may override. An
        exported file has all of that built in: UserError where it is asked to change.
        """
        self.path, self.device, self.inference = Path(path), device, inference
        self.precision: Precision = precision
        self._model: Detector | Runtime | None = None
        if self.path.suffix in SUFFIXES and (inference or precision != "fp32" or device not in (None, "cpu")):
            raise UserError(f"{path}: an exported file keeps the settings, precision and device it was exported with")

    @property
    def model(self) -> Detector | Runtime:
        """The detector, loaded on first use."""
        if self._model is None:
            exported = self.path.suffix in SUFFIXES
            self._model = Runtime(self.path) if exported else self._load()
        return self._model

    def _load(self) -> Detector:
        model = load(self.path, device=choose_device(self.device), **self.inference)
        return model.for_inference(DTYPES[self.precision])

    @property
    def config(self) -> ModelConfig:
        """The model's config."""
        return self.model.config

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None}

    @torch.inference_mode()
    def __call__(self, images: Sequence[ImageLike]) -> list[dict[str, Tensor]]:
        """Paths, PIL images, arrays or tensors -> dicts `boxes` (N, 4), `scores` (N,), `labels` (N,), on the CPU."""
        model, tensors = self.model, [to_tensor(image) for image in images]
        if isinstance(model, Runtime):
            found = model([_to_array(image) for image in tensors])
            return [{name: torch.from_numpy(value) for name, value in one.items()} for one in found]
        with autocast(next(model.parameters()).device, self.precision):
            found = model(tensors)
        return [{name: value.cpu() for name, value in one.items()} for one in found]


def _to_array(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).cpu().numpy()
