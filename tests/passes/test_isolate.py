import torch
from torch import Tensor

from cascade_rcnn.passes.isolate import detect_each


def detect(images: list[Tensor], scale: float = 1.0) -> list[dict]:
    if any(image.shape[1] > 100 for image in images):
        raise MemoryError("too large")
    return [{"height": image.shape[1], "batch": len(images)} for image in images]


def test_images_of_a_batch_that_succeeds_are_detected_together() -> None:
    assert detect_each(detect, [torch.zeros(3, 5, 5), torch.zeros(3, 7, 5)]) == [
        {"height": 5, "batch": 2},
        {"height": 7, "batch": 2},
    ]


def test_an_image_that_fails_does_not_affect_the_others() -> None:
    first, failed, last = detect_each(detect, [torch.zeros(3, 5, 5), torch.zeros(3, 101, 5), torch.zeros(3, 7, 5)])
    assert first == {"height": 5, "batch": 1}
    assert isinstance(failed, MemoryError)
    assert last == {"height": 7, "batch": 1}


def test_no_images_need_no_call() -> None:
    assert detect_each(None, []) == []  # type: ignore[arg-type]
