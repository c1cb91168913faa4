"""Detector options that only the peers' models need."""

import pytest
import torch
from torchvision.ops import roi_align

from cascade_rcnn.config import AnchorConfig, RoIAlignConfig, RPNConfig, SmoothL1Config, replace
from cascade_rcnn.config.presets import MMDET
from cascade_rcnn.images.resizing import resized_size
from cascade_rcnn.losses import SmoothL1Loss
from cascade_rcnn.models.roi_align import PyramidRoIAlign
from cascade_rcnn.models.rpn import RegionProposalNetwork


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling", [0, 2])
def test_roi_align_reads_each_box_from_its_own_level_only(aligned, sampling):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, 3, 256 // s, 256 // s, generator=generator) for s in (4, 8, 16, 32)]
    boxes = torch.tensor([[[3.0, 5.0, 60.0, 40.0], [10.0, 20.0, 150.0, 180.0], [0.0, 0.0, 250.0, 251.0]]])
    pooled = PyramidRoIAlign(RoIAlignConfig(sampling=sampling, aligned=aligned), (4, 8, 16, 32))(maps, boxes)
    for box, found, level in zip(boxes[0], pooled, (0, 1, 2), strict=True):
        expected = roi_align(maps[level], [box[None]], 7, 1 / (4 * 2**level), sampling, aligned)
        torch.testing.assert_close(found, expected[0], rtol=0, atol=1e-5)


def test_rounding_of_resized_sizes():
    assert resized_size(427, 640, 800, 1333) == (800, 1199)  # 1199.06
    assert resized_size(480, 641, 800, 1333) == (800, 1068)  # 1068.33
    assert resized_size(375, 500, 799, 1333) == (799, 1065)  # 1065.33
    assert resized_size(333, 500, 800, 1333) == (800, 1201)  # 1201.2
    assert resized_size(300, 500, 800, 1333) == (800, 1333)  # limited by the long side: 799.8
    assert resized_size(300, 500, 800, 1333, round_down=True) == (799, 1333)


def rpn_of(config: RPNConfig, strides: tuple[int, ...]) -> RegionProposalNetwork:
    loss = SmoothL1Loss(SmoothL1Config())
    return RegionProposalNetwork(4, strides, config, loss, MMDET.semantics, padding=32)


def test_strides_measured_or_nominal():
    maps = [torch.zeros(1, 4, size, size) for size in (40, 20, 10, 5, 3)]
    for measured, step in ((False, 64), (True, 53)):  # 160 / 3
        config = RPNConfig(anchors=AnchorConfig(measured_stride=measured))
        anchors = rpn_of(config, (4, 8, 16, 32, 64)).anchors(maps)[4]
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        assert centres[:9:3, 0].tolist() == pytest.approx([0, step, 2 * step], abs=1e-3)


@pytest.mark.parametrize(("rule", "expected"), [("all", 128), ("centre-inside", 64), ("inside", 49)])
def test_anchors_that_are_trained_on(rule, expected):
    """A map of 8 x 16 cells of 4 pixels; the image fills the left half: 32 x 31 pixels, padded to 32 x 32."""
    config = RPNConfig(anchors=AnchorConfig(sizes=(4,), ratios=(1.0,)))
    rpn = rpn_of(replace(config, trained_anchors=rule), (4,))
    anchors = rpn.anchors([torch.zeros(1, 4, 8, 16)])[0][None]
    assert int(rpn._usable(anchors, torch.tensor([[32.0, 31.0]])).sum()) == expected
