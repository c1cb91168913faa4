"""Reads the peers' checkpoint files. Nothing in them is run: what a pickle may build is listed here.

`.safetensors`; `.pth`, `.pt` (torch.save); `.pkl` (detectron2's model zoo: a pickled dict of numpy arrays).
"""

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_rcnn.errors import UserError
from cascade_rcnn.tensor_files import DAMAGED, reason


class Checkpoint(NamedTuple):
    """The tensors of a file by name, and what else stood beside them."""

    state: dict[str, Tensor]
    meta: dict[str, Any]


def read(path: Path) -> Checkpoint:
    """The checkpoint in `path`. Raises UserError when it is missing, broken or asks to run anything."""
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
        raise UserError(f"{path}: not a readable checkpoint ({reason(error)}); fetch the file again") from None
    return _split(content, path)


def _split(content: Any, path: Path) -> Checkpoint:
    """The table of tensors in what was read: the whole, or its entry `state_dict` or `model`."""
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}; give a checkpoint with a table of tensors by name")
    key = next((k for k in ("state_dict", "model") if isinstance(content.get(k), Mapping)), None)
    table = content if key is None else content[key]
    state = {}
    for name, value in table.items():
        tensor = torch.from_numpy(value.value) if isinstance(value, _Array) else value
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise UserError(f"{path}: '{name}' is a {type(value).__name__}, no tensor; save the model's state_dict()")
        state[name] = tensor
    meta = content.get("meta") if key else None
    return Checkpoint(state, dict(meta) if isinstance(meta, Mapping) else {})


# -- torch.save --------------------------------------------------------------------------------------------------


class _Placeholder:
    """Stands in for an object of mmdetection's training log or config: takes anything, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_CODE = "'{}', which is no tensor and might run code; save its state_dict alone"
_INERT = ("mmengine.", "mmcv.", "mmdet.", "numpy.")  # what their checkpoints hold beside the tensors


def _read_torch(path: Path) -> Any:
    """torch's own reader of tensors only; foreign names are listed first, none is imported."""
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except ValueError:
        foreign = []  # the format before torch 1.6, which torch.load checks by itself
    for name in sorted(foreign):
        if not name.startswith(_INERT):
            raise UserError(f"{path}: refused, the file asks for {_CODE.format(name)}")
    # A class of its own for each name: torch finds them by class.
    allowed = [(type("Placeholder", (_Placeholder,), {}), name) for name in foreign]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():  # type: ignore[arg-type]
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        what = _CODE.format(name[1]) if name else "more than tensors and plain values; save its state_dict alone"
        raise UserError(f"{path}: refused, the file asks for {what}") from None


# -- pickle ------------------------------------------------------------------------------------------------------
#
# numpy's own constructors are not for strangers: `ndarray` takes any bytes for pointers to objects, as does a dtype
# that is told to. So the numbers are read here from what a pickled array consists of: type code, shape and bytes.


class _Dtype:
    """Stands in for numpy.dtype: a type of numbers."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"[biuf][1248]", code):
            raise pickle.UnpicklingError(f"an array has the type {code!r}, no numbers")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = "<" if state[1] == "<" else ">" if state[1] == ">" else "="

    def read(self, data: Any, shape: Any, order: str) -> np.ndarray:
        data = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote strings
        numbers = np.frombuffer(data, f"{self.order}{self.code}").reshape(shape, order="F" if order == "F" else "C")
        return numbers.astype(numbers.dtype.newbyteorder("="))


class _Array:
    """Stands in for numpy.ndarray."""

    value: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.value = dtype.read(data, shape, "F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, dtype: _Dtype, shape: Any, order: str, *_: Any) -> _Array:
    array = _Array()
    array.value = dtype.read(data, shape, order)
    return array


def _scalar(dtype: _Dtype, data: Any) -> Any:
    return dtype.read(data, (), "C")[()]


def _latin1(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes; `_codecs.encode` itself would look up any codec."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"an array is encoded as {encoding}")
    return text.encode("latin1")


_STAND_INS = {
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": _latin1,
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _frombuffer,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds containers and arrays of numbers, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}".replace("numpy._core.", "numpy.core.")  # numpy 2 and 1
        if full not in _STAND_INS:
            raise UserError(f"refused, the file asks for '{module}.{name}', which is no array and might run code")
        return _STAND_INS[full]


def _read_pickle(path: Path) -> Any:
    with path.open("rb") as file:
        try:
            return _ArrayUnpickler(file, encoding="latin1").load()
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
