"""Save and load detectors: one .safetensors file holds the weights and the config; nothing is ever unpickled."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Unpack

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cascade_rcnn.arguments import as_path
from cascade_rcnn.assets import STARTER
from cascade_rcnn.config import InferenceOptions, ModelConfig, OwnBackboneConfig
from cascade_rcnn.config.migrations import FORMAT
from cascade_rcnn.devices import choose_device
from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.files import replacing
from cascade_rcnn.models.blank import blank, described
from cascade_rcnn.models.compact import pack, unpack
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.state_dicts import mismatch
from cascade_rcnn.protocols import Backbone
from cascade_rcnn.text_files import LFS, is_lfs_pointer

_KEY = "cascade_rcnn"
_ABSURD = 1e12  # far beyond any weight or activation statistic


def save(model: nn.Module, path: str | Path, *, compact: bool = False) -> None:
    """Save a detector and its config atomically; `compact` stores weights in 8 bits, a quarter of the size.

    It may be wrapped by `torch.compile`, as may its parts, `DistributedDataParallel` or `AveragedModel`. Raises
    UserError if it cannot be written, or for weights that `load` would refuse.

    >>> save(load("starter"), "copy.safetensors")
    """
    model, path = unwrapped(model), as_path("path", path)
    if model.folded:
        raise UserError(f"{path}: not saved, as for_inference() cannot be undone; save the model before that call")
    if len(model.tasks) != len(model.config.tasks):
        raise UserError(f"{path}: not saved, as its config has no entry for a task; use torch.save(model.state_dict())")
    weights = model.state_dict()
    tensors = {name.replace("_orig_mod.", ""): _stored(value) for name, value in weights.items()}  # of compiled parts
    if wrong := _misfit(model.config, tensors):
        advice = "use torch.save(model.state_dict())"
        raise UserError(f"{path}: not saved, as its modules are not those of its config ({wrong}); {advice}")
    for name, value in tensors.items():
        if (wrong := _implausible(value)) is not None:
            raise UserError(
                f"{path}: not saved, as {name} {wrong}: training has diverged; lower the learning rate (--optimizer.lr)"
            )
    tensors = pack(tensors) if compact else tensors
    with replacing(path) as aside:
        try:
            save_file(tensors, aside, metadata={_KEY: model.config.to_json(), "format": str(FORMAT)})
        except SafetensorError as error:  # a full disk, for example
            raise UserError(f"{path}: cannot be written ({reason(error)}); choose another output") from None


def _misfit(config: ModelConfig, tensors: dict[str, Tensor]) -> str:
    """Describe the first tensor that a model of this config lacks, or has in another shape; empty if there is none.

    A backbone of your own is unknown to the config, so models with one are not checked.
    """
    if isinstance(config.backbone, OwnBackboneConfig):
        return ""
    return mismatch(tensors, described(config))


def unwrapped(model: Any) -> Detector:
    """Return the detector inside wrappers of torch and Fabric. Raises UserError if there is none."""
    inner = without_wrappers(model)
    if not isinstance(inner, Detector):
        raise UserError(f"a {type(model).__name__} cannot be saved; give a Detector, then the path of the file")
    return inner


def without_wrappers(model: Any) -> Any:
    """Return the detector inside wrappers of torch and Fabric; anything else as it is."""
    inner = model
    while inner is not None and not isinstance(inner, Detector):
        inner = getattr(inner, "_orig_mod", getattr(inner, "module", None))
    return model if inner is None else inner


def _stored(value: Tensor) -> Tensor:
    """Convert a tensor to its stored form: float32, or integers."""
    value = value.detach().cpu().contiguous()
    return value.float() if value.is_floating_point() else value


def load(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    backbone: Backbone | None = None,
    **inference: Unpack[InferenceOptions],
) -> Detector:
    """Load a detector, in evaluation mode, from a checkpoint file.

    "starter" is the small detector that comes with the package. Names of published detectors (see `cascade-rcnn
    weights`) and hf://owner/name are downloaded on first use.

    `inference` overrides settings that do not affect the weights: `min_size` (None: no resizing), `max_size`,
    `score_threshold`, `nms_iou`, `agnostic_nms` (boxes of different classes suppress each other as well),
    `max_detections`, `test_stage`, `ensemble`, `ensemble_rois`, `iterations` (of models with a single head),
    `survivors` (early rejection). If the detector was built with your own backbone module, pass
    another instance of it as `backbone`; the checkpoint's weights are loaded into it.
    Weights are float32, whatever torch's default dtype and device are. Raises UserError naming the file if it is
    missing, corrupt, or not a checkpoint of this package, or if the device cannot be used.

    >>> model = load("starter", score_threshold=0.3)
    >>> model.class_names
    ['person']
    """
    device = choose_device(device)
    config, state = read(path)
    config = config.with_inference(**inference)
    model = _built(config, path, backbone)
    fill(model, state, path)
    return model.to(device).eval()


def _built(config: ModelConfig, path: str | Path, backbone: Backbone | None) -> Detector:
    """Build the detector of a file's config. Raises UserError if that fails, for example for lack of memory."""
    if backbone is not None and not isinstance(config.backbone, OwnBackboneConfig):
        raise UserError(f"{path}: its backbone is a {config.backbone.label}; leave out backbone=")
    if backbone is None and isinstance(config.backbone, OwnBackboneConfig):
        raise UserError(f"{path}: its backbone is a user-defined module; pass it: load(path, backbone=module)")
    try:
        return blank(config, backbone)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path}: cannot build a model from its config ({reason(error)})") from None


def read(path: str | Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Read the config and weights of a checkpoint."""
    config = read_config(path)
    try:
        return config, unpack(load_file(locate(path)))
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def locate(path: str | Path) -> Path:
    """Find a checkpoint file by path, "starter", a published detector's name or hf://owner/name (downloaded if needed).

    Raises UserError if it is missing.
    """
    file = STARTER if str(path) == "starter" else as_path("checkpoint", path)
    if file.is_file():
        return file
    from cascade_rcnn.hub.weights import resolve  # imported here to avoid a cycle: conversion builds models

    return resolve(path.as_posix() if isinstance(path, Path) else path)


def read_config(path: str | Path) -> ModelConfig:
    """Read the config of a checkpoint, without its weights."""
    found = locate(path)
    try:
        with safe_open(found, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None
    if _KEY not in metadata:
        raise UserError(
            f"{path}: holds weights but no cascade-rcnn config; convert checkpoints of detectron2, mmdetection or "
            "torchvision with `cascade-rcnn convert`"
        )
    try:
        return ModelConfig.from_json(metadata[_KEY], _format(metadata.get("format", "1"), path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _format(written: str, path: str | Path) -> int:
    """Parse a file's format number. Raises UserError if it is not a number."""
    if not written.isdecimal() or int(written) < 1:
        raise UserError(f"{path}: its format is '{written[:20]}', which is not a number; copy the file again")
    return int(written)


def _unreadable(path: str | Path, error: Exception) -> UserError:
    with suppress(OSError), Path(path).open("rb") as file:
        if is_lfs_pointer(file.read(64)):
            return UserError(f"{path}: {LFS}")
    suffix = Path(path).suffix.lower()
    if suffix in (".pth", ".pt", ".pkl"):
        return UserError(
            f"{path}: is not a .safetensors file; `cascade-rcnn convert` reads those of other frameworks, and "
            "model.load_state_dict(torch.load(path)) weights of a model of this package that torch.save has written"
        )
    if suffix in (".onnx", ".xml", ".pt2"):
        return UserError(f"{path}: is an exported file, which has no weights to train or convert; give the checkpoint")
    return UserError(
        f"{path}: not a readable checkpoint ({reason(error)}); it may be truncated or in another format: copy it "
        "again, or use last.safetensors of the same training run"
    )


def fill(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Load weights that must fit exactly and be finite. Raises UserError naming the first tensor that does not."""
    own = model.state_dict()
    if wrong := mismatch(state, own):
        raise UserError(f"{path}: its weights do not fit its config: {wrong}")
    for name, value in state.items():
        _check_values(name, value, own[name].dtype, path)
    model.load_state_dict(state)


def _check_values(name: str, value: Tensor, dtype: torch.dtype, path: str | Path) -> None:
    if value.dtype != dtype:
        raise UserError(f"{path}: {name} holds {value.dtype}, expected {dtype}; save the model again")
    if (wrong := _implausible(value)) is not None:
        raise UserError(f"{path}: {name} {wrong}; use another checkpoint")
    if name.endswith("running_var") and value.numel() > 0 and (least := value.min()) < 0:
        raise UserError(f"{path}: {name} is a variance and holds {least:g}; use another checkpoint")


def _implausible(value: Tensor) -> str | None:
    """Say what is wrong with a tensor that is not finite, or far from any weight."""
    if not value.is_floating_point() or value.numel() == 0:
        return None
    least, most = (x.item() for x in value.aminmax())  # NaN if any value is
    return None if -_ABSURD <= least <= most <= _ABSURD else f"holds values from {least:g} to {most:g}, not weights"
