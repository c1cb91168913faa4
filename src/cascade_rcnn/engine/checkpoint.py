"""Training states for resuming: weights, averaged weights, optimizer, position and random state in one file.

Nothing is ever unpickled.
"""

import zipfile
from pathlib import Path
from typing import Any

import torch

from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.files import replacing
from cascade_rcnn.models.checkpoint import load, save
from cascade_rcnn.tensor_files import DAMAGED

__all__ = ["load", "load_state", "save", "save_state"]


def save_state(path: str | Path, state: dict[str, Any], *, backup: str | Path | None = None) -> None:
    """Write a training state (tensors and plain values) atomically; the previous one becomes `backup`.

    Raises UserError if it cannot be written.
    """
    with replacing(path, backup=backup) as aside:
        try:
            with aside.open("wb") as file:  # of a path, torch would not say why it cannot write to it
                torch.save(state, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise UserError(f"{path}: cannot be written ({reason(error)}); choose another output") from None


def load_state(path: str | Path) -> dict[str, Any]:
    """Load a training state to the CPU. Raises UserError if it is missing or corrupt, even by a single bit."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums, but does not verify them
            if (damaged := archive.testzip()) is not None:
                raise EOFError(f"{damaged} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no training run to resume; omit --resume") from None
    except (*DAMAGED, zipfile.BadZipFile, NotImplementedError) as error:
        what = f"{path}: not a readable training state ({reason(error)}); start a new run in another --output"
        raise UserError(what) from None
