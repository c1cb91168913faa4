"""The two-layer head by hand."""

import pytest
import torch

from cascade_rcnn.config import BoxHead
from cascade_rcnn.heads.box_heads import TwoLayerHead


@pytest.mark.parametrize(("agnostic", "regressors"), [(True, 1), (False, 5)])
def test_shapes(agnostic, regressors):
    head = TwoLayerHead(12, 5, BoxHead(width=8, class_agnostic=agnostic))
    logits, deltas = head(torch.randn(2, 7, 12))
    assert logits.shape == (2, 7, 6)
    assert deltas.shape == (2, 7, regressors, 4)


def test_class_c_s_deltas_are_rows_4c_to_4c_plus_3():
    head = TwoLayerHead(3, 2, BoxHead(width=1, class_agnostic=False))
    with torch.no_grad():
        for layer in (head.fc1, head.fc2):
            layer.weight.fill_(1)
        head.regressor.weight.copy_(torch.arange(8.0)[:, None])
        head.regressor.bias.fill_(0.5)
        head.classifier.weight.copy_(torch.tensor([[1.0], [-1], [2]]))
    logits, deltas = head(torch.tensor([[[1.0, 0, 1], [-3, 0, 1]]]))  # sums 2 and -2, which ReLU makes 0
    assert logits.tolist() == [[[2, -2, 4], [0, 0, 0]]]
    assert deltas[0, 0].tolist() == [[0.5, 2.5, 4.5, 6.5], [8.5, 10.5, 12.5, 14.5]]
    assert deltas[0, 1].tolist() == [[0.5] * 4] * 2


def test_outputs_are_float32_under_autocast():
    head = TwoLayerHead(12, 5, BoxHead(width=8))
    with torch.autocast("cpu", torch.bfloat16):
        logits, deltas = head(torch.randn(2, 7, 12))
    assert logits.dtype == deltas.dtype == torch.float32


def test_a_new_head_hardly_moves_boxes_and_prefers_no_class():
    torch.manual_seed(0)
    logits, deltas = TwoLayerHead(196, 5, BoxHead(width=64))(torch.randn(1, 50, 196))
    assert deltas.abs().max() < 0.05
    assert (logits.softmax(-1) - 1 / 6).abs().max() < 0.05
