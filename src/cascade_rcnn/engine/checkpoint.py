"""Checkpoints. A model is one .safetensors file that carries its config; nothing is ever unpickled.

A training's state (weights, averaged weights, optimizer, position, random state) is one file more, for resuming.
"""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cascade_rcnn.config import Category, ModelConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import replacing
from cascade_rcnn.models.build import build
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.tensor_files import DAMAGED, reason

_KEY = "cascade_rcnn"
_FORMAT = "1"


def save(model: Detector, path: str | Path) -> None:
    """Write a detector with its config, whole or not at all. Raises UserError where that cannot be done."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with replacing(path) as aside:
        try:
            save_file(tensors, aside, metadata={_KEY: model.config.to_json(), "format": _FORMAT})
        except SafetensorError as error:  # a full disk, for one
            raise UserError(f"{path}: cannot be written ({reason(error)}); choose another output") from None


def load(path: str | Path, *, device: str | torch.device = "cpu", **inference: Any) -> Detector:
    """Read a detector, in evaluation mode.

    `inference` overrides what does not touch the weights: `min_size` (None: no resizing), `max_size`,
    `score_threshold`, `nms_iou`, `max_detections`, `test_stage`, `ensemble`, `ensemble_rois`, `iterations` (of a
    baseline), `survivors` (early rejection).
    Raises UserError naming the file when it is missing, corrupt, or not one of ours.
    """
    config, state = read(path)
    with _NoInit():
        model = build(config.with_inference(**inference))
    fill(model, state, path)
    return model.to(device).eval()


class _NoInit(TorchFunctionMode):
    """Leaves out random initialisation, half of the time that loading takes, where every weight is read anyway."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def read(path: str | Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The config and weights in a checkpoint."""
    config = read_config(path)
    try:
        return config, load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def read_config(path: str | Path) -> ModelConfig:
    """The config in a checkpoint, without its weights."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such checkpoint; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None
    if _KEY not in metadata:
        raise UserError(
            f"{path}: holds weights but no cascade-rcnn config; bring checkpoints of detectron2, mmdetection or "
            "torchvision in with `cascade-rcnn convert`"
        )
    try:
        return ModelConfig.from_json(metadata[_KEY])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _unreadable(path: str | Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: not a readable checkpoint ({reason(error)}); it may be truncated or of another format: copy it "
        "again, or use last.safetensors of the same training"
    )


def fill(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Load weights that must fit exactly. Raises UserError with the first difference."""
    own = model.state_dict()
    for name in own.keys() | state.keys():
        here, there = own.get(name), state.get(name)
        if here is None or there is None or here.shape != there.shape:
            shapes = [tuple(x.shape) if x is not None else "nothing" for x in (there, here)]
            raise UserError(f"{path}: its weights do not fit its config at {name}: {shapes[0]}, expected {shapes[1]}")
    model.load_state_dict(state)


def start_from(path: str | Path, categories: tuple[Category, ...]) -> tuple[Detector, int]:
    """A checkpoint's detector for other classes, to be fine-tuned; how many tensors do not carry over.

    Where the classes are the same, all do; else the classifiers (and class-specific regressors) start anew.
    """
    config, state = read(path)
    model = build(replace(config, categories=categories))
    own = model.state_dict()
    same = config.categories == categories
    fits = {
        name: value
        for name, value in state.items()
        if name in own and own[name].shape == value.shape and (same or ".classifier." not in name)
    }
    model.load_state_dict(fits, strict=False)
    return model, len(own) - len(fits)


def save_state(path: str | Path, state: dict[str, Any], *, backup: str | Path | None = None) -> None:
    """Write a training's state (tensors and plain values), whole or not at all; the one before becomes `backup`."""
    with replacing(path, backup=backup) as aside:
        try:
            torch.save(state, aside)
        except RuntimeError as error:
            raise UserError(f"{path}: cannot be written ({reason(error)}); choose another output") from None


def load_state(path: str | Path) -> dict[str, Any]:
    """Read a training's state, on the CPU. Raises UserError when it is missing or corrupt, be it in one bit."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums it has written
            if (damaged := archive.testzip()) is not None:
                raise EOFError(f"{damaged} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no training to resume; leave out --resume") from None
    except (*DAMAGED, zipfile.BadZipFile, NotImplementedError) as error:
        what = f"{path}: not a readable training state ({reason(error)}); start anew in another --output"
        raise UserError(what) from None
