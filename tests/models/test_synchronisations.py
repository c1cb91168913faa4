"""On a GPU, the host waits where a shape or a number depends on data: only NMS and the model's border may do so."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cascade_rcnn import create_model

WAITING = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::equal",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::repeat_interleave",
    "aten::bincount",
    "aten::_to_copy",  # to another device
}
SMALL = {
    "backbone_width": 8,
    "pyramid_channels": 16,
    "head_width": 32,
    "proposals": 50,
    "rois": 16,
    "score_threshold": 0.0,
    "min_size": 64,
}
NAMES = [
    "cascade_rcnn_resnet18_fpn",
    "iterative_bbox_resnet18_fpn",
    "integral_loss_resnet18_fpn",
    "cascade_rfcn_resnet18",
]


class Waits(TorchDispatchMode):
    """A dispatch mode that counts operators whose result the host waits for, and calls of NMS (a black box here)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.name().split(".")[0]
        by_mask = name in ("aten::index", "aten::index_put_", "aten::index_put") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        moves = (kwargs or {}).get("device") not in (None, torch.device("cpu"))
        if by_mask or name == "cascade_rcnn::keep_mask" or (name in WAITING and (name != "aten::_to_copy" or moves)):
            self.found[name] += 1
        return operator(*args, **(kwargs or {}))


def test_what_counts():
    x = torch.arange(4.0)
    with Waits() as waits:
        x[x > 1], x.sum().item(), x.nonzero(), bool(x.any()), x[torch.tensor([1, 2])]
    assert waits.found == {"aten::index": 1, "aten::_local_scalar_dense": 2, "aten::nonzero": 1}


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_detecting_waits_for_nms_alone(name: str):
    detector = create_model(name, 3, **SMALL).eval()
    pixels, sizes = torch.randn(2, 3, 64, 96), torch.tensor([[64.0, 96], [50, 90]])
    detector.detect(pixels, sizes)
    with Waits() as waits:
        detector.detect(pixels, sizes)
    assert waits.found == {"cascade_rcnn::keep_mask": 2}  # proposals and detections


@pytest.mark.parametrize("name", NAMES)
def test_the_losses_wait_for_nms_alone(name: str):
    detector = create_model(name, 3, **SMALL)
    images = [torch.rand(3, 64, 96), torch.rand(3, 50, 90)]
    targets = [
        {"boxes": torch.tensor([[5.0, 5, 40, 50], [30, 10, 80, 60]]), "labels": torch.tensor([1, 3])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    batch = detector.preprocess(images)
    truth = detector.targets(targets, batch)
    with Waits() as waits:
        sum(detector.losses(batch, truth).values()).backward()
    assert waits.found == {"cascade_rcnn::keep_mask": 1}


@torch.no_grad()
def test_the_border_waits_once_a_batch():
    detector = create_model(NAMES[0], 3, **SMALL).eval()
    sizes = ((64, 96), (50, 90), (70, 64))
    images = [torch.randint(256, (3, *size), dtype=torch.uint8) for size in sizes]  # floats are checked on a CPU alone
    with Waits() as waits:
        detector(images)
    assert waits.found["aten::_local_scalar_dense"] <= len(images)  # the number of detections of each, on the host
    assert waits.found["aten::index"] == waits.found["aten::nonzero"] == 0
