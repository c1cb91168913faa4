"""Selected classes, and per-class thresholds."""

import pytest
import torch

from cascade_rcnn.errors import UserError
from cascade_rcnn.passes.choose import Chosen

NAMES = ["cat", "dog", "cow"]


def detect(images, scale=1.0):
    found = {"boxes": torch.rand(6, 4), "scores": torch.tensor([0.9, 0.8, 0.7, 0.4, 0.3, 0.2])}
    return [{**found, "labels": torch.tensor([1, 2, 3, 1, 2, 3])} for _ in images]


@pytest.mark.parametrize(
    ("classes", "thresholds", "kept"),
    [
        (["dog"], {}, [0.8, 0.3]),
        ([], {"cat": 0.5}, [0.9, 0.8, 0.7, 0.3, 0.2]),
        (["cat", "cow"], {"cat": 0.95, "cow": 0.2}, [0.7, 0.2]),
    ],
)
def test_classes_and_thresholds(classes, thresholds, kept):
    (found,) = Chosen(detect, NAMES, classes, thresholds)([torch.zeros(3, 4, 4)])
    assert [round(x, 2) for x in found["scores"].tolist()] == kept
    assert len(found["boxes"]) == len(kept)


@pytest.mark.parametrize(
    ("classes", "thresholds", "message"),
    [
        (["dogs"], {}, "classes: the model has no class 'dogs'; did you mean 'dog'"),
        (["sheep"], {}, "choose from its classes: cat, dog, cow"),
        ([], {"cta": 0.4}, "thresholds: the model has no class 'cta'"),
        ([], {"cat": 40}, "thresholds: cat is 40; give 0 to 1"),
        ([], {"cat": "x"}, "thresholds: cat is 'x'; give a number, 0 to 1"),
        ([0], {}, "classes: the model has no class 0; choose from its classes: cat, dog, cow"),
        ([], ["cat=0.5"], "thresholds is a list; give scores by class"),
    ],
)
def test_mistakes(classes, thresholds, message):
    with pytest.raises(UserError, match=message):
        Chosen(detect, NAMES, classes, thresholds)
