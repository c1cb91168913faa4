"""Conversion of detections to supervision."""

import numpy as np
import pytest
import torch

from cascade_rcnn.masks import Masks
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
    assert found.confidence.tolist() == pytest.approx([0.9, 0.5])  # including the threshold itself


def test_fields_of_a_task_become_data():
    others = {"weight": np.array([3.0, 2.0, 1.0]), "keypoints": np.arange(12).reshape(3, 2, 2)}
    found = to_supervision(FOUND | others, ["cat", "dog"], 0.9)
    assert found.data["weight"].tolist() == [3.0]
    assert found.data["keypoints"].tolist() == [[[0, 1], [2, 3]]]
    assert to_supervision(FOUND | others, ["cat", "dog"], 0.95).data["keypoints"].shape == (0, 2, 2)


def test_half_precision_and_nothing_found():
    half = {name: value.astype(np.float16) if value.dtype.kind == "f" else value for name, value in FOUND.items()}
    assert to_supervision(half, ["cat", "dog"], 0.0).xyxy.dtype == np.float32
    none = to_supervision(FOUND, ["cat", "dog"], 0.95)
    assert len(none) == 0
    assert none.xyxy.shape == (0, 4)


@pytest.mark.parametrize("form", ["encoded", "probabilities", "flags"])
def test_masks_of_any_form_become_flags_of_what_is_kept(form):
    flags = np.random.default_rng(0).random((3, 8, 10)) < 0.5
    forms = {
        "encoded": Masks.encode(torch.from_numpy(flags)),
        "probabilities": np.where(flags, 0.5, 0.49)[:, None].astype(np.float32),
        "flags": flags.astype(np.uint8),
    }
    found = to_supervision(FOUND | {"masks": forms[form]}, ["cat", "dog"], 0.5)
    assert found.mask.dtype == np.bool_
    np.testing.assert_array_equal(found.mask, flags[:2])
    assert to_supervision(FOUND | {"masks": forms[form]}, ["cat", "dog"], 0.95).mask.shape == (0, 8, 10)
    assert to_supervision(FOUND, ["cat", "dog"], 0.5).mask is None
