"""Checkpoints. A model is one .safetensors file that carries its config; nothing is ever unpickled.

A training's state (weights, averaged weights, optimizer, position, random state) is one file more, for resuming.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import replacing
from cascade_rcnn.models.build import build
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.tensor_files import DAMAGED, reason

_KEY = "cascade_rcnn"
_FORMAT = "1"


def save(model: Detector, path: str | Path, state: dict[str, Tensor] | None = None) -> None:
    """Write a detector (or other weights `state` for it) with its config, whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in (state or model.state_dict()).items()}
    with replacing(path) as aside:
        save_file(tensors, aside, metadata={_KEY: model.config.to_json(), "format": _FORMAT})


def load(path: str | Path, *, device: str | torch.device = "cpu", **inference: Any) -> Detector:
    """Read a detector, in evaluation mode.

    `inference` overrides what does not touch the weights: `min_size` (None: no resizing), `max_size`,
    `score_threshold`, `nms_iou`, `max_detections`, `test_stage`, `ensemble`.
    Raises UserError naming the file when it is missing, corrupt, or not one of ours.
    """
    config, state = read(path)
    model = build(config.with_inference(**inference))
    fill(model, state, path)
    return model.to(device).eval()


def read(path: str | Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The config and weights in a checkpoint."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such checkpoint; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise UserError(
                    f"{path}: holds weights but no cascade-rcnn config; if it comes from detectron2, mmdetection or "
                    "torchvision, convert it first"
                )
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: not a readable checkpoint ({error}); it may be truncated or of another format: copy it again or "
            "use last.safetensors of the same training"
        ) from None
    return ModelConfig.from_json(metadata[_KEY]), state


def fill(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Load weights that must fit exactly. Raises UserError with the first difference."""
    own = model.state_dict()
    for name in own.keys() | state.keys():
        here, there = own.get(name), state.get(name)
        if here is None or there is None or here.shape != there.shape:
            shapes = [tuple(x.shape) if x is not None else "nothing" for x in (there, here)]
            raise UserError(f"{path}: its weights do not fit its config at {name}: {shapes[0]}, expected {shapes[1]}")
    model.load_state_dict(state)


def initialise(model: Detector, path: str | Path) -> list[str]:
    """Start from a checkpoint whose classes may differ: the names of layers that did not fit and start anew.

    Raises UserError when the architectures differ in more than the classes.
    """
    _, state = read(path)
    own = model.state_dict()
    anew = [name for name in own if name not in state or state[name].shape != own[name].shape]
    foreign = [name for name in anew if not any(part in name for part in ("classifier", "regressor"))]
    foreign += [name for name in state if name not in own]
    if foreign:
        raise UserError(
            f"{path}: another architecture than {model.config.name} (at {foreign[0]}); choose --model to fit"
        )
    model.load_state_dict({name: value for name, value in state.items() if name not in anew}, strict=False)
    return anew


def save_state(path: str | Path, state: dict[str, Any]) -> None:
    """Write a training's state (tensors and plain values), whole or not at all."""
    with replacing(path) as aside:
        torch.save(state, aside)


def load_state(path: str | Path) -> dict[str, Any]:
    """Read a training's state, on the CPU. Raises UserError when it is missing or corrupt."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no training to resume; leave out --resume") from None
    except DAMAGED as error:
        what = f"{path}: not a readable training state ({reason(error)}); start anew in another --output"
        raise UserError(what) from None
