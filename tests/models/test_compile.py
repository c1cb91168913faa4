"""torch.compile captures the whole detector: no graph breaks, the same detections."""

import pytest
import torch

from cascade_rcnn import create_model
from cascade_rcnn.models.detector import Detector

TINY = {"backbone_width": 8, "pyramid_channels": 16, "head_width": 32, "proposals": 50, "score_threshold": 0.0}


def built(name: str, **options) -> Detector:
    torch.manual_seed(0)
    torch.compiler.reset()
    return create_model(name, 3, **TINY, **options).eval()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 3, 64, 96), torch.tensor([[64.0, 96], [50, 90]])


@torch.no_grad()
@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
def test_the_compiled_detector_finds_the_same(backend):
    """`fullgraph` raises at a graph break."""
    detector, images = built("cascade_mask_rcnn_resnet18_fpn", stages=2), batch()  # a third is captured like the second
    compiled = torch.compile(detector.detect, fullgraph=True, backend=backend)
    expected, found = detector.detect(*images), compiled(*images)
    for one, other in zip(expected[:4], found[:4], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
    assert found.extras.keys() == expected.extras.keys()
    for key, values in expected.extras.items():  # empty slots hold anything
        torch.testing.assert_close(found.extras[key][found.valid], values[expected.valid], rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_the_dense_part_compiles_for_training_too():
    detector = built("cascade_rcnn_resnet18_fpn")

    def dense(pixels: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        return detector.rpn(detector.features(pixels))

    logits, deltas = torch.compile(dense, fullgraph=True, backend="aot_eager")(batch()[0])
    total = torch.cat(logits, dim=1).sum() + torch.cat(deltas, dim=1).sum()
    total.backward()
    assert detector.rpn.conv.weight.grad is not None
    assert bool(detector.rpn.conv.weight.grad.isfinite().all())
