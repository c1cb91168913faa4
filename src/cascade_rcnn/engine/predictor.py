"""A picklable predictor for a checkpoint or exported file."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import torch
from torch import Tensor

from cascade_rcnn.arguments import as_path, check_choice, known_options
from cascade_rcnn.config import InferenceOptions, ModelConfig
from cascade_rcnn.data.segmentations import binary
from cascade_rcnn.devices import choose_device
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.inputs import ImageLike, spread
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.passes import Found, PredictOptions
from cascade_rcnn.passes.interface import on_cpu
from cascade_rcnn.passes.predict import predict_with
from cascade_rcnn.runtime import Runtime, is_exported

if TYPE_CHECKING:
    import supervision

Precision = Literal["fp32", "bf16", "fp16"]
_PROCESS = os.getpid()  # in which torch's threads start; a forked child lacks them, and would wait for them forever
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """Return the autocast context for a precision; for fp32, it does nothing."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, DTYPES[precision])


class Predictor:
    """A detector loaded from a file: `predictor(images)` returns `supervision.Detections`, like `Detector.predict`.

    It is pickled as a path and a few settings, and loads the model in its first call, so that process pools and Ray
    Data can map it over shards.

    >>> predictor = Predictor("starter", min_size=320)
    >>> len(predictor("photo.jpg")) > 0
    True
    >>> import pickle
    >>> len(pickle.dumps(predictor)) < 1000
    True
    """

    @known_options
    def __init__(
        self,
        path: str | Path,
        *,
        device: str | None = None,
        precision: Precision = "fp32",
        threads: int | None = None,
        trust: bool = False,
        **inference: Unpack[InferenceOptions],
    ) -> None:
        """Create a predictor for a checkpoint, or for a file written by `cascade-rcnn export` (.onnx, .xml, .pt2).

        The device defaults to a GPU if there is one. `inference` overrides settings as in `cascade_rcnn.load`, and
        `threads` (for exported files only; otherwise, use `torch.set_num_threads`) and `trust` are those of `Runtime`.
        Raises UserError if device, precision or settings are given for an exported file, in which they are fixed.
        """
        check_choice("precision", precision, DTYPES)
        self.path, self.device, self.inference, self.trust = as_path("checkpoint", path), device, inference, trust
        self.threads = threads
        self.precision: Precision = precision
        self._model: Detector | Runtime | None = None
        self._process = _PROCESS
        others = {"precision": precision != "fp32", "device": device not in (None, "cpu")}
        changed = [*inference, *(name for name, given in others.items() if given)]
        if changed and is_exported(self.path):
            raise UserError(f"{path}: {changed[0]} cannot be set for an exported file; omit it, or give the checkpoint")

    @property
    def model(self) -> Detector | Runtime:
        """The detector, loaded on first use."""
        if self._process != os.getpid():
            torch.set_num_threads(1)
            self._process = os.getpid()
        if self._model is None:
            exported = is_exported(self.path)
            self._model = Runtime(self.path, threads=self.threads, trust=self.trust) if exported else self._load()
        return self._model

    def _load(self) -> Detector:
        model = load(self.path, device=choose_device(self.device), **self.inference)
        return model.for_inference(DTYPES[self.precision])

    @property
    def config(self) -> ModelConfig:
        """The model's config."""
        return self.model.config

    @property
    def class_names(self) -> list[str]:
        """The names of labels 1..M, in order."""
        return self.config.class_names

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_model", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_model": None, "_process": _PROCESS}

    @overload
    def __call__(
        self,
        images: ImageLike,
        threshold: float = 0.5,
        batch_size: int | None = None,
        **options: Unpack[PredictOptions],
    ) -> "supervision.Detections": ...
    @overload
    def __call__(
        self,
        images: list[Any],
        threshold: float = 0.5,
        batch_size: int | None = None,
        **options: Unpack[PredictOptions],
    ) -> "list[supervision.Detections]": ...
    @overload
    def __call__(
        self,
        images: Iterator[Any],
        threshold: float = 0.5,
        batch_size: int | None = None,
        **options: Unpack[PredictOptions],
    ) -> "Iterator[supervision.Detections]": ...

    @known_options
    def __call__(
        self, images: Any, threshold: float = 0.5, batch_size: int | None = None, **options: Unpack[PredictOptions]
    ) -> Any:
        """Detect objects in one or several images, with the same inputs and outputs as `Detector.predict`."""
        model = self.model
        device = model.preprocess.mean.device if isinstance(model, Detector) else torch.device("cpu")
        return predict_with(self.detect, model.config, spread(images), threshold, batch_size, device, options)

    @torch.inference_mode()
    def detect(self, images: Sequence[Tensor], scale: float = 1.0) -> list[Found]:
        """Detect in tensors (3, H, W) as one batch; return all detections in torchvision's format, on the CPU.

        These are dicts with `boxes` (N, 4), XYXY in pixels of the input image, `scores` (N,) and `labels` (N,) in 1..M,
        sorted by score, and `masks` (N `Masks`) if the model predicts them. `scale` multiplies the size to which images
        are resized. Raises UserError for a scale other than 1 with an exported file.
        """
        model = self.model
        if isinstance(model, Runtime):
            return detect_with_runtime(model, images, scale)
        with autocast(model.preprocess.mean.device, self.precision):
            found = model.find(images, scale)
        return [on_cpu(one) for one in found]


def detect_with_runtime(runtime: Runtime, images: Sequence[Tensor], scale: float = 1.0) -> list[Found]:
    """Detect in tensors (3, H, W) with an exported model; see `Predictor.detect` for the result and errors."""
    if scale != 1:
        raise UserError(f"tta_scales: {runtime.path} is an exported file, which cannot do this; give the checkpoint")
    found = runtime.detect([image.permute(1, 2, 0).cpu().numpy() for image in images])
    tensors = [{name: torch.from_numpy(value) for name, value in one.items()} for one in found]
    return [one | {"masks": binary(one["masks"])} if "masks" in one else one for one in tensors]
