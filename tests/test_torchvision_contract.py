"""One training script for two detectors: what works with torchvision's works with ours."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.ops import box_iou

from cascade_rcnn import UserError, create_model

CLASSES = 3


def torchvision_s() -> nn.Module:
    """Return torchvision's detector, whose `num_classes` includes the background."""
    return fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1, min_size=64, max_size=96
    )


def ours(name: str = "cascade_rcnn_resnet18_fpn", **options) -> nn.Module:
    small = {
        "backbone_width": 16,
        "pyramid_channels": 16,
        "head_width": 32,
        "proposals": 50,
        "rois": 16,
        "anchor_sizes": (8, 16, 32, 64, 128),
    }
    return create_model(name, CLASSES, min_size=64, max_size=96, **(small | options))


def data() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return grey noise with a bright and a dark rectangle; one image has neither."""
    generator = torch.Generator().manual_seed(0)
    images = [0.4 + 0.2 * torch.rand(3, *size, generator=generator) for size in ((64, 80), (72, 64))]
    boxes = torch.tensor([[8.0, 10, 36, 42], [44, 20, 76, 58]])
    images[0][:, 10:42, 8:36] += 0.4
    images[0][:, 20:58, 44:76] -= 0.4
    targets = [
        {"boxes": boxes, "labels": torch.tensor([1, 3]), "image_id": torch.tensor(7)},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    return images, targets


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.02, momentum=0.9, weight_decay=1e-4)


def train(
    model: nn.Module, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]], steps: int, optimize=sgd
) -> list[float]:
    """Train as torchvision's reference scripts do."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimize(parameters)
    model.train()
    history = []
    for _ in range(steps):
        loss_dict = model(images, targets)
        losses = sum(loss for loss in loss_dict.values())
        assert {"loss_objectness", "loss_rpn_box_reg"} <= set(loss_dict)
        assert all(isinstance(loss, Tensor) and loss.ndim == 0 for loss in loss_dict.values())
        optimizer.zero_grad()
        losses.backward()
        assert all(p.grad is not None for p in parameters)
        nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        history.append(losses.item())
    return history


@torch.inference_mode()
def detect(model: nn.Module, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    model.eval()
    found = model(images)
    assert isinstance(found, list)
    assert len(found) == len(images)
    for image, one in zip(images, found, strict=True):
        height, width = image.shape[-2:]
        assert set(one) == {"boxes", "labels", "scores"}
        number = len(one["scores"])
        assert one["boxes"].shape == (number, 4)
        assert one["labels"].shape == one["scores"].shape == (number,)
        assert one["labels"].dtype == torch.int64
        assert bool(((one["labels"] >= 1) & (one["labels"] <= CLASSES)).all())
        assert bool(((one["scores"] > 0) & (one["scores"] <= 1)).all())
        assert torch.equal(one["scores"], one["scores"].sort(descending=True).values)
        assert bool((one["boxes"][:, 2:] >= one["boxes"][:, :2]).all())
        assert bool((one["boxes"] >= 0).all())
        assert bool((one["boxes"] <= torch.tensor([width, height] * 2)).all())
    return found


@pytest.mark.parametrize("make", [torchvision_s, ours, lambda: ours("faster_rcnn_resnet18_fpn")])
def test_the_same_script_trains_and_detects(make):
    torch.manual_seed(0)
    model = make()
    images, targets = data()
    assert all(loss < 100 for loss in train(model, images, targets, steps=2))
    detect(model, images)
    detect(model, images[:1])
    state = model.state_dict()
    again = make()
    again.load_state_dict(state)
    for one, other in zip(detect(model, images), detect(again, images), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("make", [torchvision_s, lambda: ours("faster_rcnn_resnet18_fpn")])
def test_one_stage_has_torchvision_s_names_of_losses(make):
    images, targets = data()
    assert set(make()(images, targets)) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}


def test_images_and_targets_may_be_tuples():
    """torchvision's collate function, `tuple(zip(*batch))`, produces them."""
    images, targets = data()
    losses = []
    for kind in (list, tuple):
        torch.manual_seed(0)
        losses.append(train(ours(), kind(images), kind(targets), steps=1))
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("part", "name", "advice"),
    [
        ("roi_heads", "score_thresh", "score_threshold to `create_model` or `load`"),
        ("roi_heads", "nms_thresh", "nms_iou to `create_model` or `load`"),
        ("roi_heads", "detections_per_img", "max_detections to `create_model` or `load`"),
        ("roi_heads", "box_predictor", "num_classes to `create_model`, and weights to keep those of a trained model"),
        ("", "transform", "min_size and max_size to `create_model` or `load`"),
        ("", "score_threshold", "score_threshold to `create_model` or `load`"),
    ],
)
def test_what_torchvision_s_users_assign_is_refused_where_it_would_do_nothing(part, name, advice):
    module = ours().get_submodule(part)
    with pytest.raises(UserError) as caught:
        setattr(module, name, nn.Identity())
    assert str(caught.value) == f"assigning {name} to a model has no effect on its detections; give {advice}"
    assert not hasattr(module, name)


def test_ours_learns_an_image_by_heart():
    torch.manual_seed(0)
    images, targets = data()
    model = ours(head_width=64, rois=64)
    # The sum of losses need not decrease: later stages get more positives as the first one learns.
    train(model, images[:1], targets[:1], steps=40, optimize=lambda p: torch.optim.AdamW(p, lr=3e-3))
    found = detect(model, images[:1])[0]
    overlap = box_iou(targets[0]["boxes"], found["boxes"])
    right = targets[0]["labels"][:, None] == found["labels"]
    assert bool(((overlap > 0.5) & right).any(dim=1).all())
