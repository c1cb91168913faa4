"""Detections handed to supervision."""

import numpy as np
import pytest

from cascade_rcnn.results import to_supervision

FOUND = {
    "boxes": np.array([[10.0, 20, 50, 60], [5, 5, 9, 9], [0, 0, 100, 80]]),
    "scores": np.array([0.9, 0.5, 0.2]),
    "labels": np.array([2, 1, 2]),
}


def test_to_supervision_counts_classes_from_zero():
    found = to_supervision(FOUND, ["cat", "dog"], 0.5)
    assert found.xyxy.tolist() == FOUND["boxes"][:2].tolist()
    assert found.class_id.tolist() == [1, 0]
    assert found.data["class_name"].tolist() == ["dog", "cat"]
    assert found.confidence.tolist() == pytest.approx([0.9, 0.5])  # the threshold itself is in


def test_half_precision_and_nothing_found():
    half = {name: value.astype(np.float16) if value.dtype.kind == "f" else value for name, value in FOUND.items()}
    assert to_supervision(half, ["cat", "dog"], 0.0).xyxy.dtype == np.float32
    none = to_supervision(FOUND, ["cat", "dog"], 0.95)
    assert len(none) == 0
    assert none.xyxy.shape == (0, 4)
