import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks


@st.composite
def dense_masks(draw):
    """Return blobs, specks, full and empty masks of a small image."""
    height, width, number = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.integers(0, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    masks = np.zeros((number, height, width), dtype=np.uint8)
    for mask in masks:
        y, x = np.sort(random.integers(0, height + 1, 2)), np.sort(random.integers(0, width + 1, 2))
        mask[y[0] : y[1], x[0] : x[1]] = random.random((y[1] - y[0], x[1] - x[0])) < random.choice([0.05, 0.6, 1.0])
    return torch.from_numpy(masks)


def assert_tight(masks: Masks) -> None:
    """Check that each rectangle touches its object on all sides, and takes as few bytes as its bits allow."""
    for i, (x0, y0, x1, y1) in enumerate(masks.bounds.tolist()):
        crop = masks.crop(i)
        assert crop.shape == (y1 - y0, x1 - x0)
        assert crop.dtype == bool
        assert len(crop) == 0 or all(side.any() for side in (crop[0], crop[-1], crop[:, 0], crop[:, -1]))
        assert int(masks.first[i + 1] - masks.first[i]) == -(-crop.size // 8)


@given(dense_masks(), st.integers(0, 2**16))
@settings(max_examples=60)
def test_encoded_masks_are_the_dense_ones(dense, seed):
    masks = Masks.encode(dense)
    assert_tight(masks)
    assert len(masks) == len(dense)
    assert masks.size == dense.shape[1:]
    assert torch.equal(masks.dense(), dense)
    assert torch.equal(Masks.encode(dense.bool() * 255).dense(), dense)
    assert torch.equal(masks.areas(), dense.sum(dim=(1, 2)))
    rows = torch.from_numpy(np.random.default_rng(seed).integers(0, max(1, len(dense)), min(len(dense), 3)))
    assert torch.equal(masks[rows].dense(), dense[rows])
    assert torch.equal(masks.dense(rows), dense[rows])
    keep = dense.bool().any(dim=2).any(dim=1)
    assert torch.equal(masks[keep].dense(), dense[keep])
    joined = Masks.cat([masks, masks[keep], masks[rows]])
    assert_tight(joined)
    assert torch.equal(joined.dense(), torch.cat([dense, dense[keep], dense[rows]]))


@given(dense_masks(), st.integers(-20, 20), st.integers(-20, 20), st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=60)
def test_geometry_is_that_of_the_dense_masks(dense, top, left, height, width):
    masks = Masks.encode(dense)
    expected = {
        masks.hflip(): dense.flip(-1),
        masks.vflip(): dense.flip(-2),
        **{masks.rot90(k): torch.rot90(dense, k, (1, 2)) for k in (-1, 0, 1, 2, 3, 4)},
        masks.resize(height, width): F.interpolate(dense[None].float(), (height, width), mode="nearest")[0].byte()
        if len(dense)
        else dense.new_zeros(0, height, width),
        masks.window(top, left, height, width): _window(dense, top, left, height, width),
    }
    for found, dense_one in expected.items():
        assert_tight(found)
        assert found.size == dense_one.shape[1:]
        assert torch.equal(found.dense(), dense_one)


def _window(dense: torch.Tensor, top: int, left: int, height: int, width: int) -> torch.Tensor:
    """Return a window of each mask, with zeros beyond the image."""
    ys, xs = torch.arange(height) + top, torch.arange(width) + left
    inside = ((ys >= 0) & (ys < dense.shape[1]))[:, None] & ((xs >= 0) & (xs < dense.shape[2]))
    return dense[:, ys.clamp(0, dense.shape[1] - 1)][:, :, xs.clamp(0, dense.shape[2] - 1)] * inside


def test_rectangles_larger_than_their_object_are_cut_to_it():
    crop = np.zeros((6, 8), dtype=bool)
    crop[2:4, 3:7] = True
    masks = Masks.build((20, 30), [((10, 5), crop), ((0, 0), np.zeros((2, 2), dtype=bool))])
    assert masks.bounds.tolist() == [[13, 7, 17, 9], [0, 0, 0, 0]]
    assert masks.boxes().dtype == torch.float32
    assert masks.areas().tolist() == [8, 0]


def test_memory_is_that_of_the_objects():
    dense = torch.zeros(50, 400, 600, dtype=torch.bool)
    dense[:, 100:116, 200:216] = True
    masks = Masks.encode(dense)
    assert masks.data.numel() == 50 * 16 * 16 / 8


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_masks_of_floating_point_are_probabilities(kind):
    masks = Masks.encode(torch.tensor([[[0.01, 0.49, 0.5, 1.0, 255.0, float("nan")]]], dtype=kind))
    assert masks.dense().tolist() == [[[0, 0, 1, 1, 1, 0]]]


def test_mistakes_get_one_line():
    with pytest.raises(UserError, match=r"give \(N, H, W\)"):
        Masks.encode(torch.zeros(2, 1, 4, 4))
    with pytest.raises(UserError, match="all of one size"):
        Masks.cat([Masks.encode(torch.zeros(1, 4, 4)), Masks.encode(torch.zeros(1, 4, 5))])


def test_what_any_object_covers_and_what_is_left_of_each():
    dense = torch.rand(4, 12, 17, generator=torch.Generator().manual_seed(1)) > 0.6
    dense[2] = False
    over = torch.rand(12, 17, generator=torch.Generator().manual_seed(2)) > 0.5
    masks = Masks.encode(dense)
    assert masks.union().equal(dense.any(dim=0))
    assert masks.merged().dense()[0].bool().equal(dense.any(dim=0))
    assert masks.without(over).dense().bool().equal(dense & ~over)
    assert not masks.without(over).union()[over].any()
    assert not Masks.encode(torch.zeros(0, 3, 4)).union().any()
    assert not Masks.encode(torch.zeros(2, 3, 4)).merged().dense()[0].any()
