"""Box operations against values computed by hand, and equation 2 against its inverse."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from cascade_rcnn import boxes as box_ops

corner = st.floats(-500, 1500, width=32)
extent = st.floats(1, 900, width=32)
box = st.builds(lambda x, y, w, h: [x, y, x + w, y + h], corner, corner, extent, extent)


def test_the_corners_of_coco_s_boxes_keep_their_precision():
    boxes = torch.tensor([[0.1, 2, 30, 4]], dtype=torch.float64)
    found = box_ops.from_xywh(boxes)
    assert found.tolist() == [[0.1, 2, 30.1, 6]]
    assert torch.allclose(box_ops.to_xywh(found), boxes, rtol=0, atol=1e-14)


@given(st.lists(st.tuples(box, box), min_size=1, max_size=8))
@settings(max_examples=60)
def test_decoding_inverts_encoding(pairs):
    """Only where no side grows by more than the clamp of 62.5, which sides of 1 to 900 can exceed."""
    boxes = torch.tensor([p for p, _ in pairs])
    truth = torch.tensor([t for _, t in pairs])
    grown = (truth[:, 2:] - truth[:, :2]) / (boxes[:, 2:] - boxes[:, :2])
    fits = (grown < 60).all(dim=1)
    found = box_ops.decode(boxes, box_ops.encode(boxes, truth))
    torch.testing.assert_close(found[fits], truth[fits], rtol=1e-4, atol=0.02)


@given(st.lists(box, min_size=1, max_size=5), st.lists(box, min_size=1, max_size=5))
@settings(max_examples=40)
def test_iou_is_symmetric_bounded_and_one_with_itself(a, b):
    a, b = torch.tensor(a), torch.tensor(b)
    overlap = box_ops.iou(a, b)
    torch.testing.assert_close(overlap, box_ops.iou(b, a).mT)
    assert bool((overlap >= 0).all())
    assert bool((overlap <= 1 + 1e-6).all())
    torch.testing.assert_close(box_ops.iou(a, a).diagonal(), torch.ones(len(a)))


def test_area_by_hand():
    boxes = torch.tensor([[0.0, 0, 3, 4], [1, 1, 1, 5], [5, 5, 2, 2], [-2, -1, 2, 1]])
    # 3 x 4; no width; inverted; 4 x 2
    assert box_ops.area(boxes).tolist() == [12, 0, 0, 8]


def test_iou_by_hand():
    a = torch.tensor([[0.0, 0, 10, 10]])
    b = torch.tensor(
        [
            [5.0, 0, 15, 10],  # intersection 5 x 10 = 50 of 100 + 100 - 50 = 150
            [0, 0, 10, 10],  # itself
            [10, 0, 20, 10],  # touching: without +1, the intersection is empty
            [2, 2, 4, 4],  # 4 of 100
            [3, 3, 3, 3],  # a point: 0 of 100
            [8, 8, 4, 4],  # inverted: 0 of 100
        ]
    )
    torch.testing.assert_close(box_ops.iou(a, b), torch.tensor([[1 / 3, 1, 0, 0.04, 0, 0]]))


def test_iou_of_two_empty_boxes_is_zero_and_batches_broadcast():
    point = torch.zeros(1, 4)
    assert box_ops.iou(point, point).item() == 0
    a, b = torch.rand(3, 5, 4).cumsum(-1), torch.rand(3, 2, 4).cumsum(-1)
    overlap = box_ops.iou(a, b)
    assert overlap.shape == (3, 5, 2)
    torch.testing.assert_close(overlap[1], box_ops.iou(a[1], b[1]))


def test_covered_by_hand():
    """The fraction of the second box that lies inside the first, whatever the first's size."""
    crowd = torch.tensor([[0.0, 0, 100, 100]])
    boxes = torch.tensor([[90.0, 0, 110, 10], [10, 10, 20, 20], [200, 200, 210, 210], [7, 7, 7, 9]])
    assert box_ops.intersection_over_area(crowd, boxes).tolist() == [[0.5, 1, 0, 0]]


def test_encode_by_hand():
    boxes = torch.tensor([[0.0, 0, 10, 20]])  # centre (5, 10), size 10 x 20
    truth = torch.tensor([[5.0, 0, 25, 10]])  # centre (15, 5), size 20 x 10
    expected = torch.tensor([[1.0, -0.25, math.log(2), -math.log(2)]])  # (10 / 10, -5 / 20, ln 20/10, ln 10/20)
    torch.testing.assert_close(box_ops.encode(boxes, truth), expected)
    torch.testing.assert_close(box_ops.decode(boxes, expected), truth)


def test_growth_is_clamped_and_shrinking_where_asked():
    boxes = torch.tensor([[0.0, 0, 16, 16]])  # centre 8; at most 62.5 x 16 = 1000 wide
    grown = box_ops.decode(boxes, torch.tensor([[0.0, 0, 50, 50]]))
    torch.testing.assert_close(grown, torch.tensor([[-492.0, -492, 508, 508]]))
    shrink = torch.tensor([[0.0, 0, -50, -50]])
    assert box_ops.decode(boxes, shrink)[0, 2].item() == pytest.approx(8, abs=1e-6)
    half = 8 / 62.5  # with the clamp at 1 / 62.5
    torch.testing.assert_close(box_ops.decode(boxes, shrink, clamp_shrink=True)[0, 2].item(), 8 + half)


def test_degenerate_boxes_encode_to_finite_values():
    boxes = torch.tensor([[0.0, 0, 0, 0], [5, 5, 3, 3], [0, 0, 10, 10]])
    truth = torch.tensor([[0.0, 0, 1000, 1000], [1, 1, 2, 2], [4, 4, 4, 4]])
    assert bool(box_ops.encode(boxes, truth).isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_deltas_are_decoded_in_float32(dtype):
    boxes = torch.tensor([[1000.0, 1000, 1001.5, 1003]])
    found = box_ops.decode(boxes, torch.zeros(1, 4, dtype=dtype))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, boxes)


def test_clip_keeps_each_image_s_own_limits():
    boxes = torch.tensor([[[-5.0, -5, 50, 50]], [[10, 10, 500, 500]]])
    sizes = torch.tensor([[20.0, 30], [100, 200]])  # height, width
    assert box_ops.clip(boxes, sizes).tolist() == [[[0, 0, 30, 20]], [[10, 10, 200, 100]]]


def test_nonempty():
    nan = math.nan
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 1], [2, 0, 1, 1], [nan, 0, 1, 1], [0, 0, 1, nan], [0, 0, 4, 5]])
    assert box_ops.nonempty(boxes).tolist() == [True, False, False, False, False, True]
    assert box_ops.nonempty(boxes, 4).tolist() == [False] * 6  # greater than, not equal
    assert box_ops.nonempty(boxes, 3.9).tolist() == [False] * 5 + [True]


def test_gather_takes_each_image_s_rows():
    values = torch.arange(12.0).view(2, 3, 2)
    index = torch.tensor([[2, 0], [1, 1]])
    assert box_ops.gather(values, index).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]
    assert box_ops.gather(values[..., 0], index).tolist() == [[4, 0], [8, 8]]


@pytest.mark.parametrize(
    ("form", "values"), [("XYXY", [2, 4, 12, 14]), ("XYWH", [2, 4, 10, 10]), ("CXCYWH", [7, 9, 10, 10])]
)
def test_boxes_know_their_form(form, values):
    boxes = tv_tensors.BoundingBoxes([values], format=form, canvas_size=(20, 30))  # pyright: ignore[reportCallIssue]
    found = box_ops.to_xyxy(boxes)
    assert type(found) is torch.Tensor
    assert found.tolist() == box_ops.to_xyxy(torch.tensor([[2, 4, 12, 14]])).tolist() == [[2, 4, 12, 14]]
    assert found.dtype == torch.float32
