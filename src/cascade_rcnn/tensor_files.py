"""Read files of tensors, such as other frameworks' checkpoints, without running code from them.

Formats: `.safetensors`; `.pth`, `.pt` and others of torch.save; `.pkl` (detectron2's model zoo: a pickled dict of NumPy
arrays).
"""

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.pickles import PickledArray, read_pickle
from cascade_rcnn.text import printable
from cascade_rcnn.text_files import LFS, is_lfs_pointer

# What readers raise for damaged files. UserError is a ValueError: to let it pass, catch it first.
DAMAGED = (
    *(SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, MemoryError),
    *(ValueError, TypeError, AttributeError, KeyError, IndexError, ImportError),
)


class Checkpoint(NamedTuple):
    """The tensors of a file by name, its metadata, and the names of tables of averaged weights beside them."""

    state: dict[str, Tensor]
    meta: dict[str, Any]
    averages: list[str]


# Where training scripts put the model's state dict, and the modules that they wrap the model in.
_TABLES = ("state_dict", "model", "model_state_dict", "model_state", "net", "weights")
_WRAPPERS = ("module.", "_orig_mod.", "model.", "detector.", "net.")
# More than "<", since the first bytes of a .safetensors file are its header's length, which may be any.
_WEB_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint file. Raises UserError if it is missing, damaged or would run code."""
    readers = {".safetensors": load_file, ".pkl": _read_pickle}
    readers |= dict.fromkeys((".pth", ".pt", ".pyth", ".ckpt", ".bin", ".tar"), _read_torch)
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise UserError(f"{path}: unknown kind of checkpoint; give a {', '.join(readers)} file")
    try:
        _check_begin(path)
        content = readers[suffix](path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; check the path") from None
    except UserError:
        raise
    except DAMAGED as error:
        raise UserError(f"{path}: not a readable checkpoint ({reason(error)}); download the file again") from None
    return _split(content, path)


def _check_begin(path: Path) -> None:
    """Raise UserError for what failed downloads leave: a pointer of Git LFS, or a web page."""
    with path.open("rb") as file:
        begin = file.read(40)
    if is_lfs_pointer(begin):
        raise UserError(f"{path}: {LFS}")
    if _WEB_PAGE.match(begin):
        raise UserError(f"{path}: this is a web page, not the checkpoint itself; download the file again")


def _split(content: Any, path: Path) -> Checkpoint:
    """Find the dict of tensors: the content itself, or an entry of it; names lose the prefixes of wrappers."""
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: contains a {type(content).__name__}; give a file with a dict of tensors by name")
    table = content
    for _ in _TABLES:  # not endlessly: a damaged file may contain a table that contains itself
        table = next((table[key] for key in _TABLES if isinstance(table.get(key), Mapping)), table)
    state = {}
    for name, value in table.items():
        tensor = torch.from_numpy(value.value) if isinstance(value, PickledArray) else value
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            what = f"'{printable(str(name)[:200])}' is a {type(value).__name__}"
            raise UserError(f"{path}: {what}, not a tensor; save the model's state_dict()")
        state[name] = tensor
    while wrapper := next((w for w in _WRAPPERS if state and all(name.startswith(w) for name in state)), None):
        state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    meta = content.get("meta") if table is not content else None
    averages = [str(name) for name in content if table is not content and re.search(r"(?i)(^|_)ema(_|$)", str(name))]
    return Checkpoint(state, dict(meta) if isinstance(meta, Mapping) else {}, averages)


# -- torch.save --------------------------------------------------------------------------------------------------


class _Placeholder:
    """Stands in for an object beside the tensors, such as a training log: accepts anything, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Table:
    """Stands in for a subclass of dict, such as a config: makes a plain one, since torch fills only those."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict()


_MOST_NAMES = 100  # in a file whose names are reported one by one
_CODE = "'{}', which is not a tensor and might run code; save only its state_dict"
_INERT = re.compile(  # replaced by placeholders: the logs, configs and arguments that training scripts store
    r"(mmengine|mmcv|mmdet|numpy|argparse|pathlib|datetime|collections|omegaconf|yacs|fvcore|detectron2|typing)\."
    r"|torch\.optim\.|builtins\.(dict|list|set|frozenset|tuple|range|slice|int|float|str|bool|object)$"
)


def _read_torch(path: Path) -> Any:
    """Read a file with torch's weights-only reader; other names in it are checked first, and none is imported."""
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except ValueError:
        foreign = []  # the format before torch 1.6, whose names torch.load reports one by one
    while True:
        for name in sorted(foreign):
            if not _INERT.match(name):
                raise UserError(f"{path}: refused: the file refers to {_CODE.format(name)}")
        # One class per name, since torch looks them up by class.
        kinds = [_Table if re.search(r"([dD]ict|CfgNode|Config)$", name) else _Placeholder for name in foreign]
        allowed = [(type("Placeholder", (kind,), {}), name) for kind, name in zip(kinds, foreign, strict=True)]
        try:
            with torch.serialization.safe_globals(allowed), warnings.catch_warnings():  # type: ignore[arg-type]
                warnings.filterwarnings("ignore", "Detected pickle protocol")
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error))
            name = found and (found[1] if "." in found[1] else f"builtins.{found[1]}")
            if name is None or name in foreign or len(foreign) == _MOST_NAMES:
                what = "it contains more than tensors and plain values; save only its state_dict"
                raise UserError(f"{path}: refused: {what}") from None
            foreign.append(name)


def _read_pickle(path: Path) -> Any:
    try:
        return read_pickle(path)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
