import math
from dataclasses import replace

import pytest
import torch

from cascade_rcnn import create_model
from cascade_rcnn.config import ConvNeXtConfig, MViTConfig, SwinConfig, ViTConfig
from cascade_rcnn.engine.training.optim import (
    clip_norm,
    learning_rate,
    make_optimizer,
    moving_average,
    parameter_groups,
    rate_notes,
    set_learning_rate,
    warm_up_notes,
)
from cascade_rcnn.heads.cascade import Cascade
from cascade_rcnn.models.build import build_backbone
from cascade_rcnn.recipes import OptimizerConfig

STEP = OptimizerConfig(lr=0.02, lr_batch=16, warmup_steps=10, warmup_factor=0.1, schedule="step", drops=(0.5, 0.75))

NARROW = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.002),  # a tenth
        (5, 0.011),  # half-way up: 0.1 + 0.9 / 2 = 0.55
        (10, 0.02),
        (49, 0.02),
        (50, 0.002),  # after half of the 100
        (75, 0.0002),
    ],
)
def test_step_schedule_by_hand(step, expected):
    assert learning_rate(STEP, step, 100, 16) == pytest.approx(expected)


def test_cosine_schedule_by_hand():
    cosine = replace(STEP, schedule="cosine", warmup_steps=0)
    rates = [learning_rate(cosine, step, 100, 16) for step in (0, 50, 100)]
    assert rates == pytest.approx([0.02, 0.01, 0.0])


def test_no_clipping_is_an_infinite_norm():
    assert (clip_norm(OptimizerConfig(clip_norm=None)), clip_norm(OptimizerConfig(clip_norm=2))) == (math.inf, 2)


def test_rate_is_linear_in_the_batch():
    assert learning_rate(STEP, 20, 100, 4) == pytest.approx(0.02 / 4)


def test_groups_hold_every_trained_parameter_once_with_its_multiplier_and_decay():
    model = create_model("cascade_rcnn_resnet18_fpn", 2, semantics="paper", **NARROW)
    groups = parameter_groups(model, OptimizerConfig(weight_decay=0.1))
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    of = {id(p): group for group in groups for p in group["params"]}
    heads = model.roi_heads.heads
    assert [of[id(head.fc1.weight)]["multiplier"] for head in heads] == [1.0, 2.0, 4.0]  # the paper preset's
    assert of[id(heads[0].fc1.weight)]["weight_decay"] == 0.1
    assert of[id(heads[0].fc1.bias)]["weight_decay"] == 0.0
    assert [of[id(head.fc1.bias)]["multiplier"] for head in heads] == [2.0, 4.0, 8.0]  # biases learn twice as fast
    assert of[id(model.rpn.conv[0].bias)]["multiplier"] == 2.0
    assert of[id(model.rpn.conv[0].weight)]["multiplier"] == 1.0
    assert of[id(model.backbone.bn1.weight)]["weight_decay"] == 0.0


def test_a_shared_head_has_the_multiplier_of_its_first_stage():
    model = create_model("cascade_rcnn_resnet18_fpn", 2, semantics="paper", pyramid_channels=8, head_width=8)
    old = model.roi_heads
    a, b, _ = old.heads
    model.roi_heads = Cascade(
        [a, a, b], old.stages, old.box_loss, old.semantics, old.sampling, old.inference, old.lay_out
    )
    for name, expected in (("sgd", [1.0, 4.0]), ("adamw", [1.0, 1.0])):
        groups = parameter_groups(model, OptimizerConfig(name=name))  # type: ignore[arg-type]
        of = {id(p): group["multiplier"] for group in groups for p in group["params"]}
        assert [of[id(head.fc1.weight)] for head in (a, b)] == expected


def test_multipliers_make_every_head_learn_at_one_rate():
    """Stage t's loss weighs 1 / 2^t; its step is that of weight 1, by the multiplier (SGD) or by itself (AdamW)."""
    model = create_model("cascade_rcnn_resnet18_fpn", 2, semantics="paper", **NARROW)
    stages = model.config.stages
    for config in (OptimizerConfig(name="sgd", lr=1.0, momentum=0.0), OptimizerConfig(name="adamw", lr=1.0)):
        weights = [head.fc1.weight for head in model.roi_heads.heads]
        before = [weight.detach().clone() for weight in weights]
        optimizer = make_optimizer(parameter_groups(model, replace(config, weight_decay=0.0)), config)
        set_learning_rate(optimizer, 0.5)
        for weight, stage in zip(weights, stages, strict=True):
            weight.grad = torch.full_like(weight, stage.loss_weight)
        optimizer.step()
        steps = [old - weight.detach() for old, weight in zip(before, weights, strict=True)]
        for step in steps:
            torch.testing.assert_close(step, torch.full_like(step, 0.5), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimizer_and_its_rates(name, kind):
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = make_optimizer([{"params": [weight], "multiplier": 4.0}], OptimizerConfig(name=name))
    set_learning_rate(optimizer, 0.5)
    assert isinstance(optimizer, kind)
    assert optimizer.param_groups[0]["lr"] == 2.0


def test_the_moving_average_forgets_a_random_start_and_then_keeps_its_decay():
    update = moving_average(0.75)
    mine, counter = torch.tensor([1.0]), torch.tensor(3)
    update([mine, counter], [torch.tensor([2.0]), torch.tensor(8)], 1)
    assert mine.item() == pytest.approx(1 * 2 / 11 + 2 * 9 / 11)  # (1 + 1) / (10 + 1) is kept
    assert counter.item() == 8
    mine.fill_(1.0)
    update([mine], [torch.tensor([2.0])], torch.tensor(1000))
    assert mine.item() == pytest.approx(0.75 + 2 * 0.25)


class _Layered(torch.nn.Module):
    """A backbone of three layers, the lowest of which holds a table of positions."""

    def __init__(self):
        super().__init__()
        self.stem, self.low, self.high = (torch.nn.Linear(2, 2) for _ in range(3))
        self.stem.positions = torch.nn.Parameter(torch.zeros(2, 3))
        self.no_decay = {"stem.positions"}

    def layers(self):
        return [self.stem, self.low, self.high]


def _layered_model() -> torch.nn.Module:
    model = create_model("cascade_rcnn_resnet18_fpn", 2, semantics="paper", **NARROW)
    model.backbone = _Layered()
    return model


@pytest.mark.parametrize(("name", "last_head"), [("adamw", 1.0), ("sgd", 4.0)])
def test_layers_learn_the_slower_the_nearer_they_are_to_the_pixels(name, last_head):
    """One factor of the decay for each layer above, the heads included: .5, .25, .125."""
    model = _layered_model()
    groups = parameter_groups(model, OptimizerConfig(name=name, layer_decay=0.5, weight_decay=0.1))  # type: ignore
    of = {id(p): group for group in groups for p in group["params"]}
    assert sorted(of) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    weights = [model.backbone.stem.weight, model.backbone.low.weight, model.backbone.high.weight]
    assert [of[id(weight)]["multiplier"] for weight in weights] == [0.125, 0.25, 0.5]
    assert of[id(model.backbone.stem.positions)]["multiplier"] == 0.125
    assert [of[id(m.weight)]["multiplier"] for m in (model.rpn.conv[0], model.roi_heads.heads[0].fc1)] == [1, 1]
    assert of[id(model.roi_heads.heads[2].fc1.weight)]["multiplier"] == last_head


@pytest.mark.parametrize(
    ("config", "spared", "number"),
    [
        (ConvNeXtConfig(width=8, depths=(1, 1, 3, 1)), "layer_scale", 6),
        (SwinConfig(width=8, depths=(1, 1, 2, 1), heads=1), "relative_position_bias_table", 5),
        (ViTConfig(width=16, depth=2, heads=2, global_blocks=(1,)), "pos_embed", 1),
        (MViTConfig(width=8, depths=(1, 1, 1, 1)), ("rel_pos_h", "rel_pos_w"), 8),
    ],
)
def test_published_exceptions_from_weight_decay(config, spared, number):
    """Scales of ConvNeXt's blocks, positions of Swin, ViT and MViTv2: tables, but no weights of layers."""
    backbone = build_backbone(config)
    assert len(backbone.no_decay) == number
    assert {name for name, _ in backbone.named_parameters() if name.endswith(spared)} == set(backbone.no_decay)


def test_what_a_backbone_names_does_not_decay():
    model = _layered_model()
    of = {
        id(p): g["weight_decay"]
        for g in parameter_groups(model, OptimizerConfig(name="adamw", weight_decay=0.1))
        for p in g["params"]
    }
    backbone = model.backbone
    decays = [of[id(p)] for p in (backbone.stem.positions, backbone.stem.weight, backbone.stem.bias)]
    assert decays == [0.0, 0.1, 0.0]


def test_settings_with_which_nothing_is_learnt_are_noted():
    config = OptimizerConfig(lr=0.02, lr_batch=16, weight_decay=0.05, warmup_steps=5)
    assert rate_notes(config, 100, 16) == []
    assert rate_notes(replace(config, lr=0.0, warmup_steps=500), 100, 16) == [
        "--optimizer.lr is 0, so the model learns nothing"
    ]
    (note,) = rate_notes(replace(config, weight_decay=20.0), 100, 8)  # half of lr
    assert note.startswith("each update removes 20 % of the weights")


@pytest.mark.parametrize(
    ("warmup", "schedule", "noted"), [(500, "step", True), (100, "cosine", True), (10, "step", False)]
)
def test_a_warm_up_that_takes_too_much_of_the_run_is_noted(warmup, schedule, noted):
    config = OptimizerConfig(lr=0.02, warmup_steps=warmup, warmup_factor=0.0, schedule=schedule)
    notes = warm_up_notes(config, 100)
    assert bool(notes) == noted
    if warmup == 500:  # 66 of 500 updates, then a tenth
        assert notes[0].startswith(
            "the learning rate reaches at most 13 % of --optimizer.lr, as the warm-up takes 500 "
        )
