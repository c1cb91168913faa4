import numpy as np
import pytest

from cascade_rcnn.data.packed import PackedBytes, PackedStrings


def test_packed_strings_round_trip():
    names = ["a.jpg", "", "folder/ö 日本.png", "bad\udcff.jpg"]
    packed = PackedStrings.pack(names)
    assert list(packed) == names
    assert len(packed) == 4
    with pytest.raises(IndexError):
        packed[4]
    with pytest.raises(IndexError):
        packed[-1]
    assert list(PackedStrings.pack([])) == []


def test_some_of_the_bytes():
    packed = PackedBytes.of([b"a", b"", b"bcd", b"ef"])
    kept = packed.select(np.array([False, True, True, False]))
    assert [kept.read(i) for i in range(len(kept))] == [b"", b"bcd"]
    assert packed.lengths().tolist() == [1, 0, 3, 2]
    assert len(packed.select(np.zeros(4, np.bool_))) == 0
