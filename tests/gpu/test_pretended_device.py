"""On a pretended device: what the CPU computes, without mixed devices and needless waits; these tests need no GPU."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators import CPUAccelerator
from lightning_fabric.strategies import SingleDeviceStrategy
from torch import Tensor

from cascade_rcnn import load, nms, pasting, trace, train, write_shapes
from cascade_rcnn.config import RoIAlignConfig
from cascade_rcnn.engine.training import launch, optim
from cascade_rcnn.engine.training.metric_log import read_csv
from cascade_rcnn.models.roi_align import PyramidRoIAlign
from cascade_rcnn.models.weighted_sum import _backward

from .detectors import FPN, SIZES, built, images, targets
from .pretended_device import DEVICE, Elsewhere, pretended_device

MASKS = "cascade_mask_rcnn_resnet18_fpn"
WIDE = {"backbone_width": 32, "pyramid_channels": 32}  # 32 groups normalise them
FAST = [name for name in SIZES if name != "cascade_rcnn_vgg16"]
BACKBONES = ("cascade_rcnn_resnet50_dcnv2_fpn", "cascade_rcnn_swin_t_fpn", "cascade_rcnn_convnext_tiny_fpn")
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in FAST),
    (FPN, {"semantics": "mmdet"}),
    (FPN, {"semantics": "paper"}),
    (FPN, {"box_loss": "ciou", "classification": "sigmoid", "class_agnostic": False, "drop_path": 0.2}),
    (FPN, {"backbone_norm": "batch", "norm": "batch", "head": "4conv1fc", "agnostic_nms": True}),
    (FPN, WIDE | {"backbone_norm": "group", "norm": "group", "survivors": 20, "ensemble_rois": "own"}),
    (MASKS, {"semantics": "mmdet", "mask_stages": (1, 2, 3), "mask_agnostic": True, "norm": "layer"}),
]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Pretend a device, on which NMS compares all pairs as on a GPU: an operator of our own would choose on the CPU."""
    monkeypatch.setattr(nms, "OPERATOR", nms._keep_mask)
    with pretended_device() as names:
        yield names


def here(x: Any) -> Any:
    assert isinstance(x, Elsewhere)
    return x.held.detach()


def detected(device: str | torch.device, name: str, options: dict[str, Any]) -> list[dict[str, Tensor]]:
    with torch.no_grad():
        return built(name, **options).eval().to(device)(images(device))


def learned(device: str | torch.device, name: str, options: dict[str, Any]) -> tuple[dict[str, Tensor], ...]:
    """Return the losses and gradients, with the same random numbers on every device."""
    detector, given = built(name, **options).train().to(device), (images(device), targets(device))
    drawn, rand = torch.Generator().manual_seed(2), torch.rand

    def same_draws(*size: Any, device: Any = "cpu", dtype: Any = None) -> Tensor:
        return rand(*size, generator=drawn, dtype=dtype).to(device)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "rand", same_draws)
        losses = detector(*given)
    sum(losses.values()).backward()
    return losses, {key: x.grad for key, x in detector.named_parameters() if x.grad is not None}


@pytest.mark.parametrize(("name", "options"), [one for one in VARIANTS if one[0] not in BACKBONES])
def test_the_same_detections_as_on_the_cpu(name, options, waits):
    found = detected(DEVICE, name, options)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nms, "OPERATOR", nms._keep_mask)
        expected = detected("cpu", name, options)
    for one, other in zip(expected, found, strict=True):
        assert len(one["boxes"]) > 20
        assert other.keys() == one.keys()
        for key, values in one.items():
            torch.testing.assert_close(here(other[key]), values, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [pytest.param(*one, marks=[pytest.mark.slow] * (one[0] in BACKBONES)) for one in VARIANTS],
)
def test_the_same_losses_and_gradients_as_on_the_cpu(name, options, waits):
    losses, gradients = learned(DEVICE, name, options)
    expected, slopes = learned("cpu", name, options)
    assert losses.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(here(losses[key]), value.detach(), rtol=1e-3, atol=1e-5)
    assert gradients.keys() == slopes.keys()
    for key, slope in slopes.items():
        assert (here(gradients[key]) - slope).norm() <= 0.01 * slope.norm() + 1e-6, key


@pytest.mark.parametrize("name", [FPN, MASKS, "cascade_rfcn_resnet18", *BACKBONES])
def test_detecting_waits_for_nms_alone(name, waits, monkeypatch):
    monkeypatch.setattr(nms, "OPERATOR", lambda boxes, scores, groups, valid, iou: valid)
    detector = built(name).eval().to(DEVICE)
    pixels, sizes = torch.rand(2, 3, 128, 160).to(DEVICE), torch.tensor([[128.0, 160], [100, 130]]).to(DEVICE)
    with torch.no_grad():
        detector.detect(pixels, sizes)  # makes the anchors
        waits.clear()
        detector.detect(pixels, sizes)
    assert waits == []


@pytest.mark.parametrize("options", [{}, {"semantics": "mmdet"}, {"backbone_norm": "batch", "norm": "batch"}])
def test_a_step_of_training_waits_for_nms_alone(options, waits, monkeypatch):
    monkeypatch.setattr(nms, "OPERATOR", lambda boxes, scores, groups, valid, iou: valid)
    detector, given = built(FPN, **options).train().to(DEVICE), (images("cpu"), targets("cpu"))
    for _ in range(2):  # the first one makes the anchors
        waits.clear()
        sum(detector(*given).values()).backward()
    assert waits == []


@pytest.mark.parametrize("number", [0, 1, 300, 5000])
def test_nms_keeps_the_same(number, waits):
    """Of 5,000 boxes, more are valid than are compared at once."""
    torch.manual_seed(0)
    corner = torch.randint(0, 800, (2, number, 2)).float()
    boxes = torch.cat([corner, corner + torch.randint(1, 100, (2, number, 2))], dim=2)  # whole: no rounding
    scores = torch.stack([torch.randperm(number) for _ in range(2)]).float()
    given = (boxes, scores, torch.randint(0, 5, (2, number)), torch.rand(2, number) > 0.1)
    found = nms.keep_mask(*(x.to(DEVICE) for x in given), 0.5)
    assert torch.equal(here(found), nms.keep_mask(*given, 0.5))


@pytest.mark.parametrize("sampling", [0, 2])
def test_pooling(sampling, waits):
    torch.manual_seed(0)
    pool = PyramidRoIAlign(RoIAlignConfig(sampling=sampling), (4, 8, 16, 32))
    maps = [torch.randn(2, 3, 64 // k, 96 // k, requires_grad=True) for k in (1, 2, 4, 8)]
    corner = torch.rand(2, 40, 2) * 150
    boxes = torch.cat([corner, corner + 200 * torch.rand(2, 40, 2) ** 3], dim=2)
    there = [x.detach().to(DEVICE).requires_grad_() for x in maps]
    expected, found = pool(maps, boxes), pool(there, boxes.to(DEVICE))
    torch.testing.assert_close(here(found), expected.detach(), rtol=1e-4, atol=1e-4)
    weight = torch.randn_like(expected)
    (expected * weight).sum().backward()
    (found * weight.to(DEVICE)).sum().backward()
    for one, other in zip(maps, there, strict=True):
        torch.testing.assert_close(here(other.grad), one.grad, rtol=1e-3, atol=1e-3)


def test_the_gradient_of_weighted_sums(waits):
    index, reader = torch.tensor([0, 2, 2, 1]), torch.tensor([0, 0, 1, 1])
    gradient, weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = _backward(*(x.to(DEVICE) for x in (index, gradient, weight, reader)), rows=4)
    assert here(found).tolist() == [[1, 2], [12, 16], [11, 16], [0, 0]]


def test_pasting_masks(waits):
    torch.manual_seed(0)
    maps, corner = torch.rand(20, 28, 28), 150 * torch.rand(20, 2)
    boxes = torch.cat([corner - 20, corner + 5 + 100 * torch.rand(20, 2)], dim=1)
    found = pasting.paste(maps.to(DEVICE), boxes.to(DEVICE), 120, 200)
    torch.testing.assert_close(here(found), pasting.paste(maps, boxes, 120, 200), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"), [(FPN, {"tiles": 96}), (MASKS, {"tta": ["flip"], "tta_scales": [0.8, 1.2]})]
)
def test_prediction(name, options, waits):
    image = images()[0]
    found = built(name, score_threshold=0.3).to(DEVICE).predict(image, threshold=0.3, **options)
    expected = built(name, score_threshold=0.3).predict(image, threshold=0.3, **options)
    assert len(expected) > 20
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=1e-2)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-4)
    if name == MASKS:
        assert (found.mask == expected.mask).mean() > 0.999


def test_tracing(waits):
    image = images()[0]
    found, expected = (trace(built(FPN, score_threshold=0.3).to(device), image) for device in (DEVICE, "cpu"))
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)


def test_training(thin_recipe, tmp_path, monkeypatch):
    """A whole run, with accumulation, averaged weights and evaluations, learns the same."""
    shapes = write_shapes(tmp_path / "shapes", train=8, val=4, size=96)
    data = {"train": str(shapes / "train.json"), "val": str(shapes / "val.json")}
    recipe = replace(thin_recipe, epochs=2, accumulate=2, ema=0.9, evaluate_every=1)
    expected = train(replace(recipe, output=str(tmp_path / "cpu")), data=data)

    monkeypatch.setattr(launch, "Fabric", _fabric)
    monkeypatch.setattr(optim, "make_optimizer", partial(_unfused, optim.make_optimizer))
    monkeypatch.setattr(nms, "OPERATOR", nms._keep_mask)
    torch.__future__.set_swap_module_params_on_conversion(True)  # keep the parameters that the optimizer has
    try:
        with pretended_device() as waits:
            found = train(replace(recipe, output=str(tmp_path / "elsewhere")), data=data)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert waits
    columns = [[row["loss"] for row in read_csv(tmp_path / name / "train.csv")] for name in ("cpu", "elsewhere")]
    assert columns[1] == pytest.approx(columns[0], rel=1e-3)
    weights, wanted = (load(result.weights).state_dict() for result in (found, expected))
    for key, value in wanted.items():
        torch.testing.assert_close(weights[key], value, rtol=1e-3, atol=1e-4)


def _fabric(plugins: list[Any], **_: Any) -> Fabric:
    return Fabric(strategy=SingleDeviceStrategy(device=DEVICE, accelerator=_Accelerator()), plugins=plugins)


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        """Accept the pretended device."""


def _unfused(make: Any, groups: Any, config: Any, *, fused: bool) -> Any:
    return make(groups, config, fused=False)


def test_the_pretended_device_refuses_mixed_devices_and_notices_waits(waits):
    there, numbers = torch.arange(3.0, device=DEVICE), torch.arange(3.0)
    assert here(there + 2 * there).tolist() == [0, 3, 6]
    assert here(there + torch.tensor(1.0)).tolist() == [1, 2, 3]  # as on a GPU, where numbers may be on the CPU
    for mix in (lambda: there + numbers, lambda: numbers[there.long()], lambda: torch.cat([there, numbers])):
        with pytest.raises(RuntimeError, match="tensors are on both devices"):
            mix()
    assert here(numbers.to(DEVICE, non_blocking=True)).tolist() == [0, 1, 2]
    assert waits == []
    for wait in (
        lambda: there.sum().item(),
        lambda: there[there > 1],
        lambda: there.cpu(),
        lambda: numbers.to(DEVICE),
        lambda: there.to("cpu", non_blocking=True),
        lambda: there.tolist(),
        lambda: bool((there > 1).any()),
    ):
        wait()
        assert waits
        waits.clear()
    grown = there.clone().requires_grad_()
    (grown**2).sum().backward()
    assert here(grown.grad).tolist() == [0, 2, 4]
