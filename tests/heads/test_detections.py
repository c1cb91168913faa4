"""From scored boxes to detections: threshold, per-class NMS, top-k."""

import math

import torch
from torchvision.ops import batched_nms

from cascade_rcnn.config import InferenceConfig
from cascade_rcnn.heads.detections import select

SIZES = torch.tensor([[100.0, 100]])
FAR, NEAR = [60.0, 60, 90, 90], [10.0, 10, 40, 40]


def agnostic(*boxes: list[float]) -> torch.Tensor:
    return torch.tensor([[[box] for box in boxes]])


def found(boxes: torch.Tensor, scores: list[list[float]], **options) -> list[tuple[int, float, list[float]]]:
    """Return (label, score, box) of each detection of the single image."""
    result, _ = select(boxes, torch.tensor([scores]), SIZES, InferenceConfig(**options))
    rows = zip(result.labels[0], result.scores[0], result.boxes[0], result.valid[0], strict=True)
    return [(int(label), round(float(score), 4), box.tolist()) for label, score, box, valid in rows if valid]


def test_nms_is_within_a_class():
    boxes = agnostic(NEAR, [11.0, 10, 40, 40], FAR)
    expected = [(2, 0.9, NEAR), (1, 0.8, boxes[0, 1, 0].tolist()), (2, 0.6, FAR)]
    # the first suppresses the second in class 2 and is suppressed by it in class 1
    assert found(boxes, [[0.4, 0.9], [0.8, 0.7], [0.0, 0.6]]) == expected


def test_agnostic_nms_is_across_classes():
    boxes = agnostic(NEAR, [11.0, 10, 40, 40], FAR)
    assert found(boxes, [[0.4, 0.9], [0.8, 0.7], [0.0, 0.6]], agnostic_nms=True) == [(2, 0.9, NEAR), (2, 0.6, FAR)]


def test_the_threshold_itself_is_out():
    assert found(agnostic(NEAR, FAR), [[0.5], [0.75]], score_threshold=0.5) == [(1, 0.75, FAR)]
    assert found(agnostic(NEAR, FAR), [[0.5], [0.75]], score_threshold=0.8) == []


def test_nms_s_iou():
    boxes = agnostic([0.0, 0, 10, 10], [0.0, 0, 10, 6])  # IoU 0.6
    assert len(found(boxes, [[0.9], [0.8]], nms_iou=0.5)) == 1
    assert len(found(boxes, [[0.9], [0.8]], nms_iou=0.61)) == 2


def test_only_the_best_are_kept():
    boxes = agnostic(*([k * 10.0, 0, k * 10 + 9, 9] for k in range(9)))
    scores = [[0.1 + 0.1 * ((k * 4) % 9)] for k in range(9)]
    kept = found(boxes, scores, max_detections=3)
    assert [score for _, score, _ in kept] == [0.9, 0.8, 0.7]
    result, _ = select(boxes, torch.tensor([scores]), SIZES, InferenceConfig(max_detections=3))
    assert result.boxes.shape == (1, 3, 4)
    assert select(boxes, torch.tensor([scores]), SIZES, InferenceConfig(max_detections=50))[0].boxes.shape == (1, 9, 4)


def test_each_class_has_its_own_box():
    boxes = torch.tensor([[[NEAR, FAR], [[0.0, 50, 20, 70], [50, 0, 70, 20]]]])
    kept = found(boxes, [[0.9, 0.8], [0.7, 0.6]])
    assert kept == [
        (1, 0.9, NEAR),
        (2, 0.8, FAR),
        (1, 0.7, [0.0, 50, 20, 70]),
        (2, 0.6, [50, 0, 70, 20]),
    ]


def test_boxes_are_clipped_to_their_image_and_empty_ones_dropped():
    boxes = agnostic([-20.0, -30, 150, 40], [110.0, 10, 130, 20], [50.0, 50, 50, 60], [math.nan, 0, 10, 10])
    assert found(boxes, [[0.5], [0.9], [0.8], [0.7]]) == [(1, 0.5, [0, 0, 100, 40])]


def test_small_boxes_are_dropped_where_asked():
    boxes = agnostic([0.0, 0, 5, 30], FAR)
    assert len(found(boxes, [[0.9], [0.5]])) == 2
    assert found(boxes, [[0.9], [0.5]], min_size=5.0) == [(1, 0.5, FAR)]


def test_empty_slots_hold_nothing():
    result, _ = select(agnostic(NEAR, FAR), torch.tensor([[[0.9], [0.01]]]), SIZES, InferenceConfig())
    assert result.valid.tolist() == [[True, False]]
    assert result.labels.tolist() == [[1, 0]]
    assert result.scores[0, 1].item() == 0
    assert not result.boxes[0, 1].any()


def test_equals_torchvision_on_random_boxes_of_a_batch():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 30, 4, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + 5 + 35 * torch.rand(2, 30, 4, 2, generator=generator)], dim=-1)
    scores = torch.rand(2, 30, 4, generator=generator)
    result, _ = select(boxes, scores, SIZES.expand(2, 2), InferenceConfig(score_threshold=0.3, max_detections=25))
    labels = torch.arange(1, 5).expand(30, 4)
    for b in range(2):
        allowed = scores[b] > 0.3
        box, score, label = boxes[b][allowed], scores[b][allowed], labels[allowed]
        keep = batched_nms(box.double(), score.double(), label, 0.5)[:25]
        valid = result.valid[b]
        torch.testing.assert_close(result.scores[b][valid], score[keep])
        torch.testing.assert_close(result.boxes[b][valid], box[keep])
        assert torch.equal(result.labels[b][valid], label[keep])
