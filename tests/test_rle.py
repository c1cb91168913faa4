import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as reference

from cascade_rcnn import rle

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def run_lengths(mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    return rle.encode(mask, (0, 0, width, height), height, width)


@given(masks)
def test_encoding_and_decoding_are_pycocotools(mask):
    height, width = mask.shape
    counts = run_lengths(mask)
    expected = reference.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert rle.to_string(counts) == expected
    assert rle.from_string(expected).tolist() == counts.tolist()
    assert rle.area(counts) == mask.sum()
    rle.check(counts, height, width)

    (left, top, right, bottom), pixels = rle.crop(counts, height)
    whole = np.zeros_like(mask)
    whole[top:bottom, left:right] = pixels
    np.testing.assert_array_equal(whole, mask)
    if mask.any():
        assert pixels.any(axis=0)[[0, -1]].all()  # no smaller box contains it
        assert pixels.any(axis=1)[[0, -1]].all()
        assert rle.encode(pixels, (left, top, right, bottom), height, width).tolist() == counts.tolist()


@given(st.lists(st.integers(0, 2**33), min_size=1, max_size=20))
def test_compression_keeps_long_runs(counts):
    given = np.array(counts, np.int64)
    assert rle.from_string(rle.to_string(given)).tolist() == counts


def test_a_hand_made_mask():
    """Rows 1 and 2 of columns 2 to 4, in an image of 5 x 6."""
    counts = np.array([11, 2, 3, 2, 3, 2, 7])
    bounds, pixels = rle.crop(counts, 5)
    assert (bounds, pixels.tolist()) == ((2, 1, 5, 3), [[True] * 3] * 2)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "no run lengths"),
        (b"\x00\xff", "not in COCO's compressed form"),
        (b"02\x7f", "not in COCO's compressed form"),
        (b"5P", "not in COCO's compressed form"),  # truncated within a number
        (b"o" * 8 + b"1", "beyond any image"),
    ],
)
def test_text_that_is_not_a_run_length_encoding(text, what):
    with pytest.raises(ValueError, match=what):
        rle.from_string(text)


@given(st.binary(max_size=40) | st.text(alphabet=[chr(c) for c in range(48, 112)], max_size=40).map(str.encode))
def test_any_bytes_are_run_lengths_or_an_error(text):
    try:
        counts = rle.from_string(text)
        rle.check(counts, 30, 40)
    except ValueError:
        return
    bounds, pixels = rle.crop(counts, 30)
    assert pixels.shape == (bounds[3] - bounds[1], bounds[2] - bounds[0])
    assert pixels.sum() == rle.area(counts)


@pytest.mark.parametrize(
    ("counts", "what"),
    [
        ([3, 4], "run lengths of 7 pixels in all, not 12"),
        ([20, -8], "a run length of -8"),
        ([], "of 0 pixels"),
    ],
)
def test_run_lengths_of_another_image(counts, what):
    with pytest.raises(ValueError, match=what):
        rle.check(np.array(counts, np.int64), 3, 4)
