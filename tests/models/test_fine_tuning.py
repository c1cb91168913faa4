"""The weights of a class follow its name, whatever its position."""

import pytest
import torch
from torch import nn

from cascade_rcnn import create_model
from cascade_rcnn.config import Category
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import save
from cascade_rcnn.models.fine_tuning import start_from


def _named(*names: str) -> tuple[Category, ...]:
    return tuple(Category(id=i, name=name) for i, name in enumerate(names, start=1))


@pytest.fixture(params=["cascade_rcnn_resnet18_fpn", "cascade_rfcn_resnet18", "integral_loss_resnet18_fpn"])
def trained(request, tmp_path):
    options = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "class_agnostic": False, "min_size": 64}
    model = create_model(request.param, categories=_named("cat", "dog", "cow"), **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_()
    save(model, tmp_path / "m.safetensors")
    return model, tmp_path / "m.safetensors"


def _rows(model, layer: str, classes: int) -> torch.Tensor:
    """Return a head's outputs by class: (classes, ...), each with all bins, classifiers and coordinates."""
    weight = dict(model.named_parameters())[f"roi_heads.heads.0.{layer}.weight"]
    inner = 1 if layer == "classifier" else 4
    return weight.view(-1, classes, inner, *weight.shape[1:]).transpose(0, 1)


def test_classes_keep_their_weights_by_name(trained):
    before, path = trained
    after, note = start_from(path, _named("cow", "emu", "cat", "ant"))
    old, new = _rows(before, "classifier", 4), _rows(after, "classifier", 5)
    assert torch.equal(new[[0, 1, 3]], old[[0, 3, 1]])  # background, cow, cat
    assert 0 < new[[2, 4]].abs().max() < 0.06  # emu and ant: small random numbers, smaller than those of new models
    old, new = _rows(before, "regressor", 3), _rows(after, "regressor", 4)
    assert torch.equal(new[[0, 2]], old[[2, 0]])
    assert 0 < new[[1, 3]].abs().max() < 0.06
    start = "2 of 4 classes start from scratch ('emu', 'ant'), the others keep their weights"
    assert note == f"{start}; backbone and RPN keep theirs"


def test_classes_that_share_a_name_are_paired_in_order(trained):
    before, path = trained
    after, note = start_from(path, _named("dog", "dog", "cat"))
    old, new = _rows(before, "classifier", 4), _rows(after, "classifier", 4)
    assert torch.equal(new[[0, 1, 3]], old[[0, 2, 1]])
    assert new[2].abs().max() < 0.2  # the second dog
    assert note.startswith("1 of 3 classes start from scratch ('dog'), the others keep")


def test_as_many_other_classes_keep_nothing_of_the_old_ones(trained):
    before, path = trained
    after, note = start_from(path, _named("emu", "ant", "bee"))
    assert note == "3 of 3 classes start from scratch ('emu', 'ant', 'bee'); backbone and RPN keep theirs"
    for layer, classes in (("classifier", 4), ("regressor", 3)):
        assert _rows(after, layer, classes).abs().max() < 0.2
    assert torch.equal(after.rpn.conv.weight, before.rpn.conv.weight)


def test_the_same_classes_keep_all(trained):
    before, path = trained
    after, note = start_from(path, before.config.categories)
    assert note == "all classes keep their weights"
    torch.testing.assert_close(after.state_dict(), before.state_dict(), rtol=0, atol=0)


class _Own(nn.Module):
    """A backbone with layers of the same names as those of heads."""

    channels, strides = (8, 16, 16, 16), (4, 8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.classifier = nn.Conv2d(3, 8, 4, 4), nn.Sequential(nn.Conv2d(8, 8, 1))
        self.predictor, self.regressor = nn.Conv2d(8, 16, 2, 2), nn.ModuleList(nn.Conv2d(16, 16, 2, 2) for _ in "ab")

    def forward(self, x):
        first = self.classifier[0](self.stem(x))
        second = self.predictor(first)
        third = self.regressor[0](second)
        return [first, second, third, self.regressor[1](third)]

    def layers(self):
        return [self.stem, self.classifier, self.predictor, *self.regressor]


@pytest.mark.parametrize("names", [("cow", "dog", "cat"), ("cat", "emu"), ("emu", "ant")])
def test_layers_of_a_backbone_of_your_own_keep_their_weights_whatever_their_names(names, tmp_path):
    options = {"pyramid_channels": 8, "head_width": 16, "class_agnostic": False, "min_size": 64}
    before = create_model("cascade_rcnn_fpn", categories=_named("cat", "dog", "cow"), backbone=_Own(), **options)
    save(before, tmp_path / "m.safetensors")
    after, _ = start_from(tmp_path / "m.safetensors", _named(*names), backbone=_Own())
    for name, value in before.backbone.state_dict().items():
        assert torch.equal(after.backbone.state_dict()[name], value), name


def test_other_anchors_of_the_same_number_keep_the_rpn(trained):
    before, path = trained
    several = len(before.config.rpn.anchors.sizes) > 1
    sizes = (8, 16, 32, 64, 128) if several else (8, 16, 32, 64)
    after, note = start_from(path, before.config.categories, anchor_sizes=sizes, anchor_ratios=(0.25, 0.5, 1.0))
    assert after.config.rpn.anchors.sizes == (sizes if several else (sizes,))
    assert after.config.rpn.anchors.ratios == (0.25, 0.5, 1.0)
    assert note.endswith(
        f"; anchors have sizes {', '.join(map(str, sizes))} pixels and ratios (height / width) 0.25, 0.5, 1: the RPN's "
        "outputs keep their weights"
    )
    torch.testing.assert_close(after.state_dict(), before.state_dict(), rtol=0, atol=0)


def test_another_number_of_anchors_reinitialises_the_rpn_s_outputs_and_nothing_else(trained):
    before, path = trained
    after, note = start_from(path, before.config.categories, anchor_ratios=(0.5, 1.0, 2.0, 4.0))
    assert note.endswith("the RPN's outputs start from scratch, as their number has changed")
    old, new = before.state_dict(), after.state_dict()
    other = {name for name in old if old[name].shape != new[name].shape}
    assert other
    assert all(name.startswith("rpn.") for name in other)
    for name in old.keys() - other:
        assert torch.equal(old[name], new[name])
    assert len(after.eval()([torch.rand(3, 64, 64)])) == 1


def test_how_the_backbone_is_trained_can_be_changed(tmp_path):
    path, options = tmp_path / "m.safetensors", {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16}
    save(create_model("cascade_rcnn_resnet18_fpn", 2, **options, trainable_layers=2), path)
    kept, _ = start_from(path, _named("cat"))
    assert (kept.config.backbone.frozen_stages, kept.config.backbone.checkpointing) == (3, False)
    changed = create_model(weights=path, trainable_layers=4, checkpointing=True, drop_path=0.1).config.backbone
    assert (changed.frozen_stages, changed.checkpointing, changed.drop_path) == (1, True, 0.1)
    with pytest.raises(UserError, match="trainable_layers=9: the backbone has 5 layers"):
        start_from(path, _named("cat"), trainable_layers=9)


def test_too_few_anchor_sizes_are_refused(tmp_path):
    model = create_model("faster_rcnn_resnet18_fpn", 1, backbone_width=8, pyramid_channels=8, head_width=16)
    save(model, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match="anchor_sizes has 2 entries, but the checkpoint's RPN has 5 levels"):
        start_from(tmp_path / "m.safetensors", model.config.categories, anchor_sizes=(16, 32))


def test_masks_keep_their_weights_by_name_and_can_be_left_out(tmp_path):
    sizes = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "min_size": 64}
    model = create_model("mask_rcnn_resnet18_fpn", categories=_named("cat", "dog", "cow"), **sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_()
    save(model, tmp_path / "m.safetensors")
    after, _ = start_from(tmp_path / "m.safetensors", _named("cow", "emu"))
    old, new = (m.tasks[0].heads[0] for m in (model, after))
    assert torch.equal(new.predictor.weight[0], old.predictor.weight[2])
    assert new.predictor.weight[1].abs().max() < 0.1
    assert torch.equal(new.conv1.weight, old.conv1.weight)
    without, note = start_from(tmp_path / "m.safetensors", model.config.categories, masks=False)
    assert note == "all classes keep their weights; its mask head is left out, as the annotations have no masks"
    assert not without.tasks
    assert torch.equal(without.rpn.conv.weight, model.rpn.conv.weight)
