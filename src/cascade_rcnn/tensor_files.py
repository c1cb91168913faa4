"""Read tensor files without executing pickled code."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cascade_rcnn.errors import UserError, reason

# What readers raise for damaged files. UserError is a ValueError: to let it pass, catch it first.
DAMAGED = (
    *(SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, MemoryError),
    *(ValueError, TypeError, AttributeError, KeyError, IndexError, ImportError),
)


def read_state(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict from a .safetensors file or from one written by torch.save, optionally nested.

    Raises UserError for anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such weights file") from None
    except DAMAGED as error:
        what = f"{path}: not a readable weights file ({reason(error)}); give a .safetensors or .pth file"
        raise UserError(what) from None
    for key in ("model", "model_state"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: not a dict of tensors by name; save model.state_dict()")
    return state
