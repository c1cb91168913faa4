"""The risks of equations 1 and 4 by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cascade_rcnn import losses
from cascade_rcnn.box_coder import BoxCoder
from cascade_rcnn.config import IoULossConfig, SmoothL1Config
from cascade_rcnn.losses import IoULoss, SmoothL1Loss
from cascade_rcnn.losses.box_regression import smooth_l1

BOX = torch.tensor([0.0, 0, 10, 10])


def l1_of(predicted: torch.Tensor, mask: torch.Tensor, normalizer: torch.Tensor, beta: float) -> torch.Tensor:
    """Return the localization risk of deltas whose targets are all 0: boxes that lie on their ground truth."""
    boxes = BOX.expand_as(predicted)
    loss = SmoothL1Loss(SmoothL1Config(beta=beta))
    return losses.localization(loss, predicted, boxes, boxes, BoxCoder(), mask=mask, normalizer=normalizer)


def test_smooth_l1_by_hand():
    difference = torch.tensor([-2.0, -0.5, 0, 0.5, 1, 3])
    # beta 1: d^2 / 2 inside, |d| - 1/2 beyond
    torch.testing.assert_close(smooth_l1(difference, 1.0), torch.tensor([1.5, 0.125, 0, 0.125, 0.5, 2.5]))
    # beta 1/9: 4.5 d^2 for |d| < 1/9, |d| - 1/18 beyond
    found = smooth_l1(torch.tensor([0.1, 1.0]), 1 / 9)
    torch.testing.assert_close(found, torch.tensor([0.045, 1 - 1 / 18]))
    torch.testing.assert_close(smooth_l1(difference, 0.0), difference.abs())


def test_smooth_l1_slope_is_continuous_at_beta():
    difference = torch.tensor([0.5 - 1e-4, 0.5 + 1e-4], requires_grad=True)
    smooth_l1(difference, 0.5).sum().backward()
    torch.testing.assert_close(difference.grad, torch.ones(2), rtol=0, atol=1e-3)


def test_localization_sums_masked_rows_over_the_normalizer():
    predicted = torch.tensor([[[1.0, 0, 0, 0], [0, 2, 0, 0], [9, 9, 9, 9]]])
    mask = torch.tensor([[True, True, False]])
    found = l1_of(predicted, mask, torch.tensor(4), beta=0)
    assert found.item() == pytest.approx((1 + 2) / 4)


def test_classification_by_hand():
    logits = torch.tensor([[[0.0, 0], [math.log(3), 0], [5, -5]]])
    labels = torch.tensor([[1, 0, 0]])
    mask = torch.tensor([[True, True, False]])
    found = losses.classification(losses.Softmax(), logits, labels, mask, torch.tensor(2))
    assert found.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)  # probabilities 1/2 and 3/4


def test_sigmoid_classification_by_hand():
    """Each class has a binary cross-entropy; the background's logit, here 7, does not enter it."""
    logits = torch.tensor([[[7.0, 0, math.log(3)], [7, math.log(3), -math.log(3)], [7, 50, 50]]])
    labels, mask = torch.tensor([[1, 0, 2]]), torch.tensor([[True, True, False]])
    found = losses.classification(losses.Sigmoid(), logits, labels, mask, torch.tensor(2))
    assert found.item() == pytest.approx((math.log(2) + math.log(4) + math.log(4) + math.log(4 / 3)) / 2)


def test_probabilities_by_hand():
    logits = torch.tensor([[math.log(2.0), 0, math.log(3)]])
    soft, independent = losses.Softmax(), losses.Sigmoid()
    torch.testing.assert_close(soft.probabilities(logits), torch.tensor([[1 / 6, 1 / 2]]))
    torch.testing.assert_close(soft.objectness(logits), torch.tensor([2 / 3]))
    torch.testing.assert_close(independent.probabilities(logits), torch.tensor([[1 / 2, 3 / 4]]))
    torch.testing.assert_close(independent.objectness(logits), torch.tensor([3 / 4]))


def test_objectness_by_hand():
    logits = torch.tensor([[0.0, math.log(3), -50]])
    positive = torch.tensor([[True, False, True]])
    mask = torch.tensor([[True, True, False]])
    found = losses.objectness(logits, positive, mask, torch.tensor(2))
    assert found.item() == pytest.approx((math.log(2) + math.log(4)) / 2)  # 1/2 for an object; 3/4 where there is none


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_all_masked_is_exactly_zero_with_zero_gradients(beta):
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    deltas = torch.full((2, 3, 4), 1e4, requires_grad=True)
    logits = torch.randn(2, 3, 5, requires_grad=True)
    objectness = torch.randn(2, 3, requires_grad=True)
    one, labels = torch.tensor(1), torch.zeros(2, 3, dtype=torch.int64)
    risks = [
        l1_of(deltas, nothing, one, beta),
        losses.classification(losses.Softmax(), logits, labels, nothing, one),
        losses.objectness(objectness, nothing, nothing, one),
    ]
    sum(risks).backward()
    assert [risk.item() for risk in risks] == [0, 0, 0]
    for leaf in (deltas, logits, objectness):
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))


def test_half_precision_is_computed_in_float32():
    """In float16, the sum of 512 risks of 200 each would overflow."""
    deltas = torch.full((1, 512, 4), 200.0, dtype=torch.float16)
    mask = torch.ones(1, 512, dtype=torch.bool)
    found = l1_of(deltas, mask, torch.tensor(512), beta=1.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(4 * 199.5)
    logits = torch.zeros(1, 512, 3, dtype=torch.float16)
    risk = losses.classification(
        losses.Softmax(), logits, torch.zeros(1, 512, dtype=torch.int64), mask, torch.tensor(1)
    )
    assert risk.item() == pytest.approx(512 * math.log(3), rel=1e-5)


@pytest.fixture(scope="module")
def peers_losses(peers_folder: Path) -> dict[str, Any]:
    return json.loads((peers_folder / "mmdet" / "iou_losses.json").read_text())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # (0, 0, 10, 10) against (5, 0, 15, 10): IoU 1/3, hull 150, with an empty area of 150 - 150 = 0
        ("giou", 1 - 1 / 3),
        # centres 5 apart; the hull's diagonal^2 is 15^2 + 10^2
        ("diou", 1 - 1 / 3 + 25 / 325),
        # the same shape
        ("ciou", 1 - 1 / 3 + 25 / 325),
        ("iou", math.log(3)),
        # x alone shares 10 - 2 * 5 of 10 + 2 * 5; smooth L1 of 1 minus that; the other coordinates agree
        ("bounded_iou", 1 - 0.1),
    ],
)
def test_iou_losses_by_hand(kind, expected):
    loss = IoULoss(IoULossConfig(kind=kind, weight=2.0))
    found = loss(torch.zeros(1, 4), BOX[None], torch.tensor([[5.0, 0, 15, 10]]), BoxCoder())
    assert found.item() == pytest.approx(2 * expected, rel=1e-5, abs=1e-6)


def test_iou_losses_of_mmdetection(peers_losses):
    """Recorded: ordinary boxes, one inside the other, disjoint, and shifted by a hundredth of a pixel."""
    found, truth = torch.tensor(peers_losses["boxes"]), torch.tensor(peers_losses["truth"])
    for kind in ("iou", "bounded_iou"):
        boxes = found.clone().requires_grad_()
        loss = IoULoss(IoULossConfig(kind=kind))(torch.zeros_like(found), boxes, truth, BoxCoder())
        loss.sum().backward()
        torch.testing.assert_close(loss.tolist(), peers_losses[kind], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(boxes.grad, torch.tensor(peers_losses[f"{kind}_gradient"]), rtol=1e-4, atol=1e-6)


def test_giou_beyond_contact_by_hand():
    """(0, 0, 10, 10) and (20, 0, 30, 10): IoU 0; a third of the hull of 300 is empty."""
    loss = IoULoss(IoULossConfig())
    found = loss(torch.zeros(1, 4), BOX[None], torch.tensor([[20.0, 0, 30, 10]]), BoxCoder())
    assert found.item() == pytest.approx(1 + 1 / 3, rel=1e-5)


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou", "iou", "bounded_iou"])
def test_iou_losses_decode_by_the_statistics_and_are_zero_at_the_truth(kind):
    coder = BoxCoder(mean=(0.1, 0.0, 0.0, 0.0), std=(0.5, 0.5, 0.2, 0.2))
    truth = torch.tensor([[3.0, -2, 18, 9]])
    deltas = coder.encode(BOX[None], truth)
    assert IoULoss(IoULossConfig(kind=kind))(deltas, BOX[None], truth, coder).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou", "iou", "bounded_iou"])
@pytest.mark.parametrize("at", [0.0, 4000.0])
def test_empty_boxes_have_a_finite_loss_and_gradient(kind, at):
    shrunk, same = [0.0, 0, -200, -200], [0.0, 0, 0, 0]  # the first decodes to an empty box
    deltas = torch.tensor([shrunk, [0.0, 0, 0, -200], same, same, shrunk], requires_grad=True)
    truth = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5], [5, 5, 9, 5], [5, 5, 5, 5]])
    risk = IoULoss(IoULossConfig(kind=kind))(deltas, BOX.expand(5, 4) + at, truth + at, BoxCoder((0,) * 4, (1,) * 4))
    risk.sum().backward()
    assert bool(risk.isfinite().all())
    assert bool(deltas.grad.isfinite().all())


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou", "iou", "bounded_iou"])
def test_empty_boxes_that_are_masked_leave_no_trace(kind):
    deltas = torch.zeros(2, 4, requires_grad=True)
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 5, 5]])
    truth = torch.tensor([[5.0, 0, 15, 10], [torch.nan] * 4])
    mask, one = torch.tensor([True, False]), torch.tensor(1)
    loss = IoULoss(IoULossConfig(kind=kind))
    losses.localization(loss, deltas, boxes, truth, BoxCoder(), mask=mask, normalizer=one).backward()
    assert bool(deltas.grad[0].any())
    assert deltas.grad[1].tolist() == [0, 0, 0, 0]
