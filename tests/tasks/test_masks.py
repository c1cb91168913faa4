import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_rcnn.config import MaskConfig, NormConfig, RoIAlignConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.create import create_model
from cascade_rcnn.models.detector import Detector, to_list
from cascade_rcnn.models.roi_align import PyramidRoIAlign
from cascade_rcnn.structures import Detections, StageOutput, TrainedOn
from cascade_rcnn.tasks.masks import MaskHead, MaskTask

TINY = {
    "backbone_width": 8,
    "pyramid_channels": 8,
    "head_width": 16,
    "min_size": None,
    "anchor_sizes": (8, 16, 32, 64, 128),
    "proposals": 40,
    "rois": 16,
}


def target(height: int = 64, width: int = 64) -> dict[str, Tensor]:
    masks = torch.zeros(2, height, width, dtype=torch.uint8)
    masks[0, 8:40, 8:40], masks[1, 10:50, 10:30] = 1, 1
    boxes = torch.tensor([[8.0, 8, 40, 40], [10, 10, 30, 50]])
    return {"boxes": boxes, "labels": torch.tensor([2, 1]), "masks": masks}


def nothing() -> dict[str, Tensor]:
    return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "masks": torch.zeros(0, 64, 64).byte()}


@pytest.fixture(scope="module")
def model() -> Detector:
    torch.manual_seed(0)
    return create_model("cascade_mask_rcnn_resnet18_fpn", 3, semantics="mmdet", **TINY)


def test_the_map_of_each_label_is_computed():
    torch.manual_seed(0)
    head = MaskHead(4, 5, MaskConfig(convs=2, channels=8, norm=NormConfig(kind="batch")))
    x, labels = torch.randn(6, 4, 14, 14), torch.tensor([1, 5, 3, 3, 2, 0])
    found = head.eval()(x, labels)
    for k in (1, 2):
        x = getattr(head, f"bn{k}")(getattr(head, f"conv{k}")(x)).relu()
    every = head.predictor(F.relu(head.deconv(x)))
    assert found.shape == (6, 28, 28)
    torch.testing.assert_close(found[:5], every[torch.arange(5), labels[:5] - 1])


def test_losses_of_every_stage_in_the_weights_of_the_preset(model):
    torch.manual_seed(0)
    losses = model.train()([torch.rand(3, 64, 64)] * 2, [target(), nothing()])
    found = [losses[f"loss_mask_stage{t}"].item() for t in (1, 2, 3)]
    assert found[0] == pytest.approx(0.693, abs=0.02)  # log 2: a new head predicts a half everywhere
    assert found[1] == pytest.approx(found[0] / 2, rel=0.02)
    assert found[2] == pytest.approx(found[0] / 4, rel=0.02)


def test_without_objects_every_parameter_has_a_gradient_of_zero(model):
    model.train().zero_grad()
    losses = model([torch.rand(3, 64, 64)], [nothing()])
    assert [losses[f"loss_mask_stage{t}"].item() for t in (1, 2, 3)] == [0, 0, 0]
    sum(losses.values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.tasks.parameters())
    model.zero_grad()


def test_batch_norm_learns_from_objects_only():
    model = create_model("cascade_mask_rcnn_resnet18_fpn", 2, norm="batch", **TINY).train()
    norm = model.tasks[0].heads[0].bn1
    model([torch.rand(3, 64, 64)], [nothing()])
    assert norm.running_var.tolist() == [1] * 8
    model([torch.rand(3, 64, 64)], [target()])
    assert norm.running_var.tolist() != [1] * 8


def test_masks_learn_an_object(model):
    """A few steps on one image, with the mask loss alone: the pixels inside and outside the object separate."""
    pool = PyramidRoIAlign(RoIAlignConfig(resolution=14), (4,))
    torch.manual_seed(0)
    task = MaskTask(pool, 8, 2, MaskConfig(channels=8, convs=1))
    features = [torch.rand(1, 8, 24, 24)]
    features[0][:, :4, 4:8, 4:12] += 2
    truth = target(96, 96)
    truth["masks"][0, 8:40, 8:40] = 0
    truth["masks"][0, 16:32, 16:48] = 1
    boxes = torch.tensor([[[8.0, 8, 56, 56]]])
    batch = model.preprocess([torch.rand(3, 96, 96)])
    targets = model.targets([truth], batch)
    trained = trained_on(boxes, label=2, matched=0)
    optimizer = torch.optim.Adam(task.parameters(), lr=0.02)
    for _ in range(60):
        loss = task.loss(features, [trained], targets)["loss_mask"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = Detections(boxes, torch.ones(1, 1), torch.tensor([[2]]), torch.ones(1, 1).bool())
    masks = task(features, found).extras["masks"]
    assert masks.shape == (1, 1, 28, 28)
    inside = masks[0, 0, 5:14, 5:23] >= 0.5
    assert float(inside.float().mean()) > 0.85
    assert int((masks >= 0.5).sum()) - int(inside.sum()) < 60


def trained_on(boxes: Tensor, label: int, matched: int) -> TrainedOn:
    one = torch.ones(1, 1)
    output = StageOutput(boxes, torch.zeros(1, 1, 3), torch.zeros(1, 1, 1, 4))
    labels, rows = one.long() * label, one.long() * matched
    return TrainedOn(output, labels, rows, boxes, one, one.bool(), one < 0)


@torch.no_grad()
def test_empty_slots_cost_nothing():
    pool = PyramidRoIAlign(RoIAlignConfig(resolution=14), (4,))
    torch.manual_seed(0)
    task = MaskTask(pool, 8, 2, MaskConfig(channels=8, convs=1, stages=(1, 2), weights=(1.0, 1.0))).eval()
    features = [torch.rand(2, 8, 16, 16)]
    boxes = torch.tensor(
        [[[6.0, 6, 42, 42], [0, 0, 0, 0], [0, 0, 0, 0]], [[2, 8, 20, 60], [9, 9, 33, 12], [0, 0, 0, 0]]]
    )
    labels = torch.tensor([[2, 0, 0], [1, 2, 0]])
    rows: list[int] = []
    for head in task.heads:
        head.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    masks = task(features, Detections(boxes, (labels > 0).float(), labels, labels > 0)).extras["masks"]
    assert rows == [4, 4]
    assert masks.shape == (2, 3, 28, 28)
    every = task(features, Detections(boxes, (labels > 0).float(), labels, labels >= 0)).extras["masks"]
    assert rows[2:] == [6, 6]
    torch.testing.assert_close(masks[labels > 0], every[labels > 0])


@torch.no_grad()
def test_detections_of_resized_images_have_masks_of_the_given_size(model):
    model.eval()
    batch = model.preprocess([torch.rand(3, 50, 70)], 100)
    assert batch.pixels.shape[-2:] != (50, 70)
    (found,) = to_list(model.detect(batch.pixels, batch.sizes), batch, model.config)
    number = len(found["boxes"])
    assert number > 0
    assert found["masks"].shape == (number, 1, 50, 70)
    assert 0 <= float(found["masks"].min()) <= float(found["masks"].max()) <= 1


def test_targets_scale_with_the_image(model):
    """An image of half the size, enlarged to the same pixels, gives the same targets."""
    pool = PyramidRoIAlign(RoIAlignConfig(resolution=14), (4,))
    torch.manual_seed(0)
    task = MaskTask(pool, 8, 3, MaskConfig(channels=8, convs=1))
    features, trained = [torch.rand(1, 8, 16, 16)], trained_on(torch.tensor([[[6.0, 6, 42, 42]]]), 2, 0)
    losses = []
    for factor in (1, 2):
        truth = target(64 // factor, 64 // factor)
        truth["boxes"] = truth["boxes"] / factor
        truth["masks"] = F.interpolate(target()["masks"][None].float(), scale_factor=1 / factor)[0].byte()
        batch = model.preprocess([torch.rand(3, 64 // factor, 64 // factor)], 64)
        losses.append(task.loss(features, [trained], model.targets([truth], batch))["loss_mask"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_mistakes_get_one_line(model):
    model.train()
    image = torch.rand(3, 64, 64)
    with pytest.raises(UserError, match="has no 'masks'"):
        model([image], [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}])
    with pytest.raises(UserError, match="are 32x64 pixels, but the image is 64x64"):
        model([image], [target() | {"masks": torch.zeros(2, 32, 64)}])
    with pytest.raises(UserError, match="2 boxes and 1 masks"):
        model([image], [target() | {"masks": torch.zeros(1, 64, 64)}])
    with pytest.raises(UserError, match="mask_stages="):
        create_model("mask_rcnn_resnet18_fpn", 3, mask_stages=(2,), **TINY)
    with pytest.raises(UserError, match="have no masks"):
        create_model("cascade_rcnn_resnet18_fpn", 3, mask_agnostic=True, **TINY)
    with pytest.raises(UserError, match="one of each per head"):
        MaskConfig(stages=(1, 2))
