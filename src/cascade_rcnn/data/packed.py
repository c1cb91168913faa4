"""Sequences of byte strings in two tensors, which processes can share without copying."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PackedBytes:
    """N byte strings, concatenated, and the offset of each."""

    data: Tensor  # uint8
    offsets: Tensor  # (N + 1,) int64

    @classmethod
    def of(cls, items: Sequence[bytes]) -> Self:
        """Pack byte strings."""
        offsets = np.zeros(len(items) + 1, np.int64)
        np.cumsum([len(item) for item in items], out=offsets[1:])
        joined = np.frombuffer(bytearray().join(items), np.uint8)  # a bytearray, as torch wants writable memory
        return cls(torch.from_numpy(joined), torch.from_numpy(offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def read(self, i: int) -> bytes:
        """Return string i. Raises IndexError if there is none."""
        if not 0 <= i < len(self):
            raise IndexError(f"item {i} of {len(self)}")
        start, end = self.offsets[i : i + 2].tolist()
        return self.data[start:end].numpy().tobytes()

    def lengths(self) -> Tensor:
        """Return the length of each string in bytes, (N,) int64."""
        return self.offsets.diff()

    def select(self, kept: np.ndarray) -> Self:
        """Return the strings selected by the mask `kept` (N,)."""
        lengths = self.lengths().numpy()
        offsets = np.zeros(int(kept.sum()) + 1, np.int64)
        np.cumsum(lengths[kept], out=offsets[1:])
        data = self.data.numpy()[np.repeat(kept, lengths)]
        return type(self)(torch.from_numpy(data), torch.from_numpy(offsets))


class PackedStrings(PackedBytes):
    """A read-only sequence of strings, stored as UTF-8."""

    @classmethod
    def pack(cls, strings: Sequence[str]) -> Self:
        """Pack strings; file names that are not valid Unicode are kept as in `os.fsdecode`."""
        return cls.of([string.encode("utf-8", "surrogateescape") for string in strings])

    def __getitem__(self, i: int) -> str:
        return self.read(i).decode("utf-8", "surrogateescape")
