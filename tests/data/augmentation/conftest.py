from collections.abc import Callable

import pytest
import torch
from torchvision import tv_tensors


def _sample(height: int, width: int, boxes: list[list[int]], first_label: int = 1) -> tuple[torch.Tensor, dict]:
    """Return an image whose objects are rectangles, each in its own grey, with every kind of per-box field."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        image[:, y1:y2, x1:x2] = 10 * (first_label + k)
        masks[k, y1:y2, x1:x2] = 1
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.arange(first_label, first_label + len(boxes))
    return image, {
        "boxes": corners,
        "labels": labels,
        "area": (corners[:, 2:] - corners[:, :2]).prod(1),
        "iscrowd": torch.zeros(len(boxes), dtype=torch.int64),
        "weight": labels / 10,  # a user's own field
        "masks": tv_tensors.Mask(masks),
        "image_id": torch.tensor(first_label),
    }


@pytest.fixture
def sample() -> Callable[..., tuple[torch.Tensor, dict]]:
    return _sample


@pytest.fixture
def draws(monkeypatch) -> Callable[..., None]:
    """Make `torch.rand` return these numbers, one tensor after another."""

    def give(*numbers: float | list[float]) -> None:
        stream = iter(numbers)
        monkeypatch.setattr(torch, "rand", lambda *_: torch.tensor(next(stream)))

    return give


@pytest.fixture
def consistent() -> Callable[[torch.Tensor, dict], None]:
    """Check a target against its image: boxes inside, one row per box in every field, masks of the image's size."""

    def check(image: torch.Tensor, target: dict) -> None:
        boxes, (height, width) = target["boxes"], image.shape[1:]
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        for name in ("labels", "area", "iscrowd", "weight", "masks"):
            assert len(target[name]) == len(boxes), name
        assert target["masks"].shape[1:] == (height, width)
        assert isinstance(target["masks"], tv_tensors.Mask)
        assert target["weight"].tolist() == pytest.approx((target["labels"] / 10).tolist())

    return check
