"""Send a batch from a loading process as one block of shared memory, however many tensors it has.

torch sends every tensor as a file of its own, and a process may have only some 1,000 files open.
"""

import io
import pickle
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes
Packed: TypeAlias = tuple[bytes, Tensor, list[tuple[int, int]]]  # structure, block (uint8), start and end of each array


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Tensor and obj.dtype != torch.bfloat16 and obj.device.type == "cpu" and not obj.requires_grad:
            return torch.from_numpy, (obj.numpy(),)
        return NotImplemented  # part of the structure


def pack(batch: Any) -> Packed:
    """Copy the tensors in a structure into one block, if NumPy can represent them, as it can those of images."""
    file, arrays = io.BytesIO(), []
    _Pickler(file, 5, buffer_callback=lambda buffer: arrays.append(np.frombuffer(buffer.raw(), np.uint8))).dump(batch)
    places, end = [], 0
    for array in arrays:
        start = -(-end // _ALIGNMENT) * _ALIGNMENT
        end = start + len(array)
        places.append((start, end))
    block = torch.empty(end, dtype=torch.uint8)
    for array, (start, stop) in zip(arrays, places, strict=True):
        block.numpy()[start:stop] = array
    return file.getvalue(), block, places


def unpack(packed: Packed) -> Any:
    """Return the structure; its tensors are views of the block."""
    structure, block, places = packed
    return pickle.loads(structure, buffers=[block.numpy()[start:end].data for start, end in places])
