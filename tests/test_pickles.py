"""Pickled arrays are read; no pickle runs code, takes long or uses much memory."""

import io
import pickle
import pickletools
import struct
import sys
import time
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.torture.pickles import bases, mutate
from cascade_rcnn.errors import UserError
from cascade_rcnn.pickles import PickledArray, read_pickle
from cascade_rcnn.tensor_files import DAMAGED, read

VALUES = {
    "text": "naïve \u20ac \U0001f600",
    "old": "a\nb\\",
    "numbers": [0, 1, -1, 255, 256, 65535, -(2**31), 2**40, 1.5, -1e300, True, False, None],
    "nested": {"a": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}], 7: {}},
    "ordered": OrderedDict(x=1, y=[2]),
    "scalar": np.float32(0.5),
}
ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(5, dtype=">i4"),
    np.array([True, False]),
    np.zeros((0, 3), np.int64),
    np.array(7, np.uint8),
    np.ones((1, 1, 2), np.float16),
]


def file_of(folder: Path, data: bytes) -> Path:
    path = folder / "x.pkl"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values(protocol, tmp_path):
    found = read_pickle(file_of(tmp_path, pickle.dumps(VALUES, protocol)))
    assert found == VALUES
    assert [type(x) for x in found["numbers"]] == [type(x) for x in VALUES["numbers"]]  # type: ignore[union-attr]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
def test_arrays(array, protocol, tmp_path):
    twice = [array, array, {"same": array}]
    found = read_pickle(file_of(tmp_path, pickle.dumps(twice, protocol)))
    assert found[0] is found[1] is found[2]["same"]
    value = found[0].value
    assert value.dtype == array.dtype.newbyteorder("=")
    assert value.flags.writeable
    np.testing.assert_array_equal(value, array)


def test_how_python_2_wrote_arrays(tmp_path):
    """Strings in place of bytes, and numpy's old names."""
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x08" + struct.pack("<2f", 1.5, -2.0) + b"tb."
    )
    assert read_pickle(file_of(tmp_path, data)).value.tolist() == [1.5, -2.0]


def _colliding(number: int) -> bytes:
    """Return keys that are multiples of Python's hash modulus, with values."""
    keys = (((2**61 - 1) * k).to_bytes(16, "little") for k in range(1, number + 1))
    return b"".join(b"\x8a\x10" + key + b"N" for key in keys)


def array_of_sides(sides: bytes) -> bytes:
    """Return an array of these dimensions without data."""
    start = b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01("
    return start + sides + b"tcnumpy\ndtype\nX\x02\x00\x00\x00f4K\x00K\x01\x87R\x89C\x00tb."


def attacks() -> dict[str, bytes]:
    """Return pickles that make Python's own unpickler run code, take hours or use up all memory."""
    doubled = b"(t" + b"q\x00h\x00\x86" * 60  # a tuple of itself twice, sixty times over
    array = pickle.dumps(np.arange(1000, dtype=">f8"), 2)
    latin1 = (
        b"c_codecs\nencode\nq\x01X" + struct.pack("<I", 60000) + b"a" * 60000 + b"X\x06\x00\x00\x00latin1\x86q\x020"
    )
    return {
        "a key of tuples that takes years to hash": b"}" + doubled + b"K\x01s.",
        "a type of tuples that takes years to print": b"cnumpy\ndtype\n" + doubled + b"\x85R.",
        "an encoding that takes years to print": b"c_codecs\nencode\nX\x01\x00\x00\x00a" + doubled + b"\x86R.",
        "keys whose hashes are all equal": b"}(" + _colliding(40_000) + b"u.",
        "sides beyond all memory": array_of_sides(b"K\x00" + b"J\xff\xff\xff\x7f" * 3),
        "sides beyond all numbers": array_of_sides(b"K\x00\x8a\x10" + b"\x7f" * 16),
        "bytes beyond the file": b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
        "text beyond the file": b"X" + struct.pack("<I", 2**32 - 1) + b"x.",
        "a negative length": b"T" + struct.pack("<i", -5) + b"x.",
        "a huge index": b"Kr" + b"K\x01r" + struct.pack("<I", 2**32 - 1) + b".",
        "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
        "a number of 255 bytes": b"\x8a\xff" + b"\xff" * 255 + b".",
        "a hundred thousand lines without end": b"V" * 100_000,
        "many encoded copies": latin1 + b"(" + b"h\x01h\x02R" * 20_000 + b"l.",
        "lists in lists in lists": b"]" * 50_000 + b"a" * 49_999 + b".",
        "nothing but marks": b"(" * 100_000 + b".",
        "an array of shape 2**62": array.replace(b"M\xe8\x03", b"\x8a\x08" + struct.pack("<q", 2**62), 1),
        "a persistent object": b"Px\n.",
        "an extension": b"\x82\x01.",
        "an object by class and state": b"cposix\nsystem\n)\x81.",
        "an instance": b"(S'id'\niposix\nsystem\n.",
        "a name of two lines": b"\x8c\x02os\x8c\x07sys\ntem\x93.",
        "a tensor's name of two lines": b"}\x8c\x07wei\nght]s.",
        "a name with dots": b"\x8c\x07builtins\x8c\x04eval\x93.",
        "an attribute of what is allowed": b"\x8c\x05numpy\x8c\x0cdtype.__new__\x93.",
        "a class in place of an array": b"cnumpy\nndarray\nK\x01\x85R.",
        "an array without its parts": b"cnumpy.core.multiarray\n_reconstruct\n)R.",
        "a call of what is no name": b"X\x06\x00\x00\x00system)R.",
        "an empty file": b"",
        "an end without a beginning": b".",
    }


@pytest.mark.parametrize("what", attacks())
def test_attacks_end_in_one_line_at_once(what, tmp_path):
    data = attacks()[what]
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(UserError) as caught:
            read(file_of(tmp_path, data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500
    assert time.process_time() - started < 5
    assert peak < 150 * len(data) + 1_000_000


def test_arrays_cannot_hold_more_than_the_file(tmp_path):
    """The bytes of one array are given to many arrays."""
    out = io.BytesIO()
    one = pickle.dumps(np.arange(5000, dtype=np.float64), 3)
    held = [arg for op, arg, _ in pickletools.genops(one) if op.name == "BINBYTES" and len(arg) > 100][0]  # noqa: RUF015
    head, tail = one.split(held)
    at = len(head) - 5
    again = one[2:at] + b"h\x7f" + tail[:-1]
    out.write(one[:at] + one[at : at + 5] + held + b"q\x7f" + tail[2:-1] + again * 100 + b"".join([b"0"] * 100) + b".")
    with pytest.raises(pickle.UnpicklingError, match="contain more data than the file"):
        read_pickle(file_of(tmp_path, out.getvalue()))


@pytest.mark.parametrize("seed", range(4))
def test_mutated_pickles_are_read_or_refused(seed, tmp_path):
    """One thousand per seed; `make torture` tries many more."""
    canary = tmp_path / "made"
    random, modules = np.random.default_rng(seed), set(sys.modules)
    good = bases(canary)
    counted = {"read": 0, "refused": 0}
    for _ in range(1000):
        data = mutate(random, good)
        try:
            found = read_pickle(file_of(tmp_path, data))
        except (UserError, *DAMAGED):
            counted["refused"] += 1
            continue
        counted["read"] += 1
        assert_plain(found, set())
    assert not canary.exists()
    assert {name for name in set(sys.modules) - modules if not name.startswith("encodings")} == set()
    assert min(counted.values()) > 50, counted


def assert_plain(value: object, seen: set[int]) -> None:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        assert all(type(key) in (str, int, bool) for key in value)
        for inner in value.values():
            assert_plain(inner, seen)
    elif isinstance(value, list | tuple):
        for inner in value:
            assert_plain(inner, seen)
    elif isinstance(value, PickledArray):
        assert value.value.dtype.kind in "biuf"
    else:
        assert type(value).__name__ in (
            "str",
            "int",
            "float",
            "bool",
            "NoneType",
            "bytes",
            "memoryview",
            "_Name",
            "_Type",
        )
