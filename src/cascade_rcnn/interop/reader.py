"""Read other frameworks' checkpoint files without running code from them.

Formats: `.safetensors`; `.pth`, `.pt` (torch.save); `.pkl` (detectron2's model zoo: a pickled dict of NumPy arrays).
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.interop.pickles import PickledArray, read_pickle
from cascade_rcnn.tensor_files import DAMAGED
from cascade_rcnn.text import printable


class Checkpoint(NamedTuple):
    """The tensors of a file by name, and its metadata."""

    state: dict[str, Tensor]
    meta: dict[str, Any]


def read(path: Path) -> Checkpoint:
    """Read a checkpoint file. Raises UserError if it is missing, damaged or would run code."""
    readers = {".safetensors": load_file, ".pkl": _read_pickle, ".pth": _read_torch, ".pt": _read_torch}
    if path.suffix not in readers:
        raise UserError(f"{path}: unknown kind of checkpoint; give a {', '.join(readers)} file")
    try:
        content = readers[path.suffix](path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; check the path") from None
    except UserError:
        raise
    except DAMAGED as error:
        raise UserError(f"{path}: not a readable checkpoint ({reason(error)}); download the file again") from None
    return _split(content, path)


def _split(content: Any, path: Path) -> Checkpoint:
    """Find the dict of tensors: the content itself, or its entry `state_dict` or `model`."""
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: contains a {type(content).__name__}; give a file with a dict of tensors by name")
    key = next((k for k in ("state_dict", "model") if isinstance(content.get(k), Mapping)), None)
    table = content if key is None else content[key]
    state = {}
    for name, value in table.items():
        tensor = torch.from_numpy(value.value) if isinstance(value, PickledArray) else value
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            what = f"'{printable(str(name)[:200])}' is a {type(value).__name__}"
            raise UserError(f"{path}: {what}, not a tensor; save the model's state_dict()")
        state[name] = tensor
    meta = content.get("meta") if key else None
    return Checkpoint(state, dict(meta) if isinstance(meta, Mapping) else {})


# -- torch.save --------------------------------------------------------------------------------------------------


class _Placeholder:
    """Stands in for objects in mmdetection's training log or config: accepts anything, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_CODE = "'{}', which is not a tensor and might run code; save only its state_dict"
_INERT = ("mmengine.", "mmcv.", "mmdet.", "numpy.")  # replaced by placeholders


def _read_torch(path: Path) -> Any:
    """Read a file with torch's weights-only reader; other names in it are checked first, and none is imported."""
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except ValueError:
        foreign = []  # the format before torch 1.6, which torch.load checks
    for name in sorted(foreign):
        if not name.startswith(_INERT):
            raise UserError(f"{path}: refused: the file refers to {_CODE.format(name)}")
    # One class per name, since torch looks them up by class.
    allowed = [(type("Placeholder", (_Placeholder,), {}), name) for name in foreign]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():  # type: ignore[arg-type]
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        what = _CODE.format(name[1]) if name else "more than tensors and plain values; save only its state_dict"
        raise UserError(f"{path}: refused: the file refers to {what}") from None


def _read_pickle(path: Path) -> Any:
    try:
        return read_pickle(path)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
