"""The box heads by hand."""

import pytest
import torch
from torch import Tensor, nn

from cascade_rcnn.config import BoxHead, RoIAlign
from cascade_rcnn.heads.box_heads import RFCNHead, TwoLayerHead
from cascade_rcnn.models.roi_align import PyramidRoIAlign

NO_BOXES = torch.zeros(0)


class Given(nn.Module):
    """Pools nothing: the first of the features are the boxes' own."""

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        return features[0]


@pytest.mark.parametrize(("agnostic", "regressors"), [(True, 1), (False, 5)])
def test_shapes(agnostic, regressors):
    head = TwoLayerHead(Given(), 12, 5, BoxHead(width=8, class_agnostic=agnostic))
    logits, deltas = head([torch.randn(2, 7, 12)], NO_BOXES)
    assert logits.shape == (2, 7, 6)
    assert deltas.shape == (2, 7, regressors, 4)


def test_class_c_s_deltas_are_rows_4c_to_4c_plus_3():
    head = TwoLayerHead(Given(), 3, 2, BoxHead(width=1, class_agnostic=False))
    with torch.no_grad():
        for layer in (head.fc1, head.fc2):
            layer.weight.fill_(1)
        head.regressor.weight.copy_(torch.arange(8.0)[:, None])
        head.regressor.bias.fill_(0.5)
        head.classifier.weight.copy_(torch.tensor([[1.0], [-1], [2]]))
    logits, deltas = head([torch.tensor([[[1.0, 0, 1], [-3, 0, 1]]])], NO_BOXES)  # sums 2 and -2, which ReLU makes 0
    assert logits.tolist() == [[[2, -2, 4], [0, 0, 0]]]
    assert deltas[0, 0].tolist() == [[0.5, 2.5, 4.5, 6.5], [8.5, 10.5, 12.5, 14.5]]
    assert deltas[0, 1].tolist() == [[0.5] * 4] * 2


def test_outputs_are_float32_under_autocast():
    head = TwoLayerHead(Given(), 12, 5, BoxHead(width=8))
    with torch.autocast("cpu", torch.bfloat16):
        logits, deltas = head([torch.randn(2, 7, 12)], NO_BOXES)
    assert logits.dtype == deltas.dtype == torch.float32


def test_a_new_head_hardly_moves_boxes_and_prefers_no_class():
    torch.manual_seed(0)
    logits, deltas = TwoLayerHead(Given(), 196, 5, BoxHead(width=64))([torch.randn(1, 50, 196)], NO_BOXES)
    assert deltas.abs().max() < 0.05
    assert (logits.softmax(-1) - 1 / 6).abs().max() < 0.05


def test_classifiers_side_by_side():
    head = TwoLayerHead(Given(), 12, 5, BoxHead(width=8), classifiers=3)
    logits, deltas = head([torch.randn(2, 7, 12)], NO_BOXES)
    assert logits.shape == (2, 7, 3 * 6)
    assert deltas.shape == (2, 7, 1, 4)


def rfcn(num_classes: int = 2, bins: int = 2, **options) -> RFCNHead:
    pool = PyramidRoIAlign(RoIAlign(resolution=bins), (16,), position_sensitive=True)
    return RFCNHead(pool, bins * bins, 3, num_classes, BoxHead(kind="rfcn", width=4, **options))


@pytest.mark.parametrize(("agnostic", "regressors"), [(True, 1), (False, 2)])
def test_rfcn_shapes(agnostic, regressors):
    head = rfcn(class_agnostic=agnostic)
    logits, deltas = head([torch.randn(2, 3, 6, 8)], torch.rand(2, 7, 4) * 50)
    assert logits.shape == (2, 7, 3)
    assert deltas.shape == (2, 7, regressors, 4)
    assert [len(layer.weight) for layer in (head.conv, head.classifier, head.regressor)] == [4, 12, 16 * regressors]


def test_rfcn_s_bins_vote_with_their_own_maps():
    """Score maps that are constant: bin s says s + 10 c for class c, so that the average of 4 bins is 1.5 + 10 c."""
    head = rfcn()
    with torch.no_grad():
        head.classifier.weight.zero_()
        head.regressor.weight.zero_()
        head.classifier.bias.copy_((torch.arange(4.0)[:, None] + 10 * torch.arange(3.0)).flatten())
        head.regressor.bias.copy_((torch.arange(4.0)[:, None] + 10 * torch.arange(4.0)).flatten())
    inside = torch.tensor([[[16.0, 16, 80, 80], [20, 30, 60, 90]]])
    logits, deltas = head([torch.randn(1, 3, 8, 8)], inside)
    torch.testing.assert_close(logits, torch.tensor([1.5, 11.5, 21.5]).expand(1, 2, 3))
    torch.testing.assert_close(deltas, torch.tensor([1.5, 11.5, 21.5, 31.5]).expand(1, 2, 1, 4))


def test_rfcn_reads_the_last_map():
    head = rfcn()
    last = torch.randn(1, 3, 6, 8)
    boxes = torch.tensor([[[5.0, 5, 60, 70]]])
    alone, after = head([last], boxes), head([torch.full((1, 7, 6, 8), torch.nan), last], boxes)
    assert all(torch.equal(a, b) for a, b in zip(alone, after, strict=True))


def test_rfcn_s_votes_are_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        logits, deltas = rfcn()([torch.randn(1, 3, 6, 8)], torch.tensor([[[5.0, 5, 60, 70]]]))
    assert logits.dtype == deltas.dtype == torch.float32
