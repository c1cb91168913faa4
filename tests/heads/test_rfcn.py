"""R-FCN's head, by hand."""

import pytest
import torch

from cascade_rcnn.config import RFCNHeadConfig, RoIAlignConfig
from cascade_rcnn.heads.rfcn import RFCNHead
from cascade_rcnn.models.roi_align import PyramidRoIAlign


def rfcn(num_classes: int = 2, bins: int = 2, **options) -> RFCNHead:
    pool = PyramidRoIAlign(RoIAlignConfig(resolution=bins), (16,), position_sensitive=True)
    return RFCNHead(pool, 3, bins * bins, num_classes, RFCNHeadConfig(width=4, **options))


@pytest.mark.parametrize(("agnostic", "regressors"), [(True, 1), (False, 2)])
def test_shapes(agnostic, regressors):
    head = rfcn(class_agnostic=agnostic)
    logits, deltas = head([torch.randn(2, 3, 6, 8)], torch.rand(2, 7, 4) * 50)
    assert logits.shape == (2, 7, 3)
    assert deltas.shape == (2, 7, regressors, 4)
    assert [len(layer.weight) for layer in (head.conv, head.classifier, head.regressor)] == [4, 12, 16 * regressors]


def test_bins_vote_with_their_own_maps():
    """Constant score maps: bin s has s + 10 c for class c, so the average of 4 bins is 1.5 + 10 c."""
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


def test_reads_the_last_map():
    head = rfcn()
    last = torch.randn(1, 3, 6, 8)
    boxes = torch.tensor([[[5.0, 5, 60, 70]]])
    alone, after = head([last], boxes), head([torch.full((1, 7, 6, 8), torch.nan), last], boxes)
    assert all(torch.equal(a, b) for a, b in zip(alone, after, strict=True))


def test_votes_are_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        logits, deltas = rfcn()([torch.randn(1, 3, 6, 8)], torch.tensor([[[5.0, 5, 60, 70]]]))
    assert logits.dtype == deltas.dtype == torch.float32
