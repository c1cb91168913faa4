"""Mutated pickles of arrays, benign and malicious; none may run anything or create more data than the file contains."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np

from benchmarks.torture.areas import Case
from benchmarks.torture.mutations import Random, mutate_bytes, one
from cascade_rcnn.tensor_files import read

_OPCODES = bytes(range(0x28, 0x7E)) + bytes(range(0x80, 0x99))
_PIECES = (
    *(
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"\x8c\x02os\x8c\x06system\x93",
        b"cnumpy\nndarray\n",
        b"cnumpy\ndtype\n",
    ),
    *(
        b"R",
        b"b",
        b"\x81",
        b"\x92",
        b"h\x00",
        b"j\xff\xff\xff\xff",
        b"r\xff\xff\xff\xff",
        b"\x94",
        b"(",
        b"t",
        b"2",
        b"0",
    ),
    *(b"\x8a\xff", b"\x8b\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"B\xff\xff\xff\xff", b"}", b"]", b"\x85", b"\x86"),
)


class _Malicious:
    """An object that creates a folder when Python unpickles it."""

    def __init__(self, made: Path) -> None:
        self.made = str(made)

    def __reduce__(self):
        return os.mkdir, (self.made,)


def bases(made: Path) -> list[bytes]:
    """Return good pickles in every protocol, and some that would create the folder `made`."""
    table = OrderedDict(weight=np.arange(6, dtype=np.float32).reshape(2, 3), bias=np.ones(2, ">f8"))
    good = {
        "model": table,
        "__author__": "someone",
        "log": [1, 2.5, None, True, ("a", -7)],
        "lr": np.float32(0.1),
        "epoch": np.int64(3),
    }
    bad = {"model": {"weight": np.zeros(3, np.float32), "x": _Malicious(made)}, "meta": [_Malicious(made)]}
    return [pickle.dumps(content, protocol) for content in (good, good, bad) for protocol in range(6)]


def mutate(random: Random, good: list[bytes]) -> bytes:
    """Mutate one of them: change bytes, replace an opcode, insert a meaningful piece, or splice two together."""
    data = one(random, good)
    for _ in range(one(random, (0, 1, 1, 2, 4))):
        at = int(random.integers(len(data) + 1))
        match one(random, ("bytes", "opcode", "piece", "piece", "splice")):
            case "bytes":
                data = mutate_bytes(random, data)[1]
            case "opcode":
                data = data[:at] + bytes([one(random, _OPCODES)]) + data[at + 1 :]
            case "piece":
                data = data[:at] + one(random, _PIECES) + data[at:]
            case _:
                other = one(random, good)
                data = data[:at] + other[int(random.integers(len(other))) :]
    return data


class Pickles:
    """Files like those in detectron2's model zoo, and some that would run code."""

    name = "pickles"

    def prepare(self, folder: Path) -> None:
        """Create good and malicious pickles."""
        self.made = folder / "made"
        self.bases = bases(self.made)

    def case(self, random: Random, folder: Path) -> Case:
        """Damage one of them."""
        path = folder / "case.pkl"
        path.write_bytes(mutate(random, self.bases))

        def run() -> str | None:
            try:
                state = read(path).state
            finally:
                if self.made.exists():
                    raise RuntimeError("something in the file was run")
            held = sum(value.numel() * value.element_size() for value in state.values())
            return f"{held} bytes of arrays from {path.stat().st_size}" if held > path.stat().st_size else None

        return f"{path.stat().st_size} bytes", run
