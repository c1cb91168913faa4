"""Configs of older formats: every value moves to its present place, and later defaults do not change it."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cascade_rcnn.config import ModelConfig, ModelOptions
from cascade_rcnn.config.migrations import FORMAT, migrate
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.configure import model_config

FORMAT1 = json.loads((Path(__file__).parents[1] / "fixtures" / "format1" / "configs.json").read_text(encoding="utf-8"))
# Paths in format 1 -> present paths, where they differ.
MOVED = {
    "semantics.box_beta": "box_loss.beta",
    "semantics.rpn_box_beta": "rpn.box_loss.beta",
    "semantics.rpn_box_normalizer": "rpn.box_normalizer",
    "semantics.rpn_by_level": "rpn.by_level",
    "semantics.rpn_min_match_iou": "rpn.low_quality_iou",
    "semantics.rpn_rescue_reassigns": "rpn.low_quality_reassigns",
    "semantics.rpn_anchors": "rpn.trained_anchors",
    "backbone.family": "backbone.type",
    "backbone.norm": "backbone.norm.kind",
    "backbone.norm_eps": "backbone.norm.eps",
    "backbone.fold_norm": "backbone.norm.folded",
    "pyramid_channels": "pyramid.channels",
    "head.kind": "box_head.type",
    "head.width": "box_head.width",
    "head.class_agnostic": "box_head.class_agnostic",
}
RENAMED = {"two_layer": "conv_fc"}  # values that were renamed
OF_VGG = ("family", "planes", "frozen_stages")  # the fields of the backbone that applied to VGG


def leaves(tree: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, tree


@pytest.mark.parametrize("name", FORMAT1)
def test_every_value_of_format_1_is_kept(name):
    old = FORMAT1[name]
    today = json.loads(ModelConfig.from_json(json.dumps(old), 1).to_json())
    new = dict(leaves(today))
    vgg = old["backbone"].get("family") == "vgg"
    unused = {f"backbone.{name}" for name in old["backbone"] if vgg and name not in OF_VGG}
    for path, value in leaves(old):
        if path == "pyramid_channels" and value is None:
            assert today["pyramid"] == {"type": "single_scale"}
        elif path not in unused:
            assert new[MOVED.get(path, path)] == RENAMED.get(str(value), value), path
    assert today["preprocess"]["divisor"] == old["preprocess"].get("divisor", 32)


def test_todays_configs_are_left_alone():
    config = model_config("cascade_rcnn_vgg16", ModelConfig().categories, ModelOptions(), pretrained=True)
    assert migrate(msgspec.to_builtins(config), FORMAT) == msgspec.to_builtins(config)


def test_what_came_later_keeps_old_models_as_they_were():
    old = ModelConfig.from_json(json.dumps(FORMAT1["fpn-paper"]), 1)
    assert old.semantics.name == "paper"
    assert (old.rpn.by_level, old.semantics.min_object_size, old.semantics.bias_lr_multiplier) == (False, 0, 1)
    assert (old.rpn.box_normalizer, old.rpn.anchors.offset) == ("samples", 0)


def test_the_first_configs_knew_of_no_families_methods_or_kinds_of_heads():
    first = json.loads(json.dumps(FORMAT1["fpn-paper"]))
    expected = ModelConfig.from_json(json.dumps(first), 1)
    for part, names in (("backbone", ("family", "dilated")), ("rpn", ("channels", "shared")), ("head", ("kind",))):
        for name in names:
            first[part].pop(name, None)
    first.pop("method", None)
    found = ModelConfig.from_json(json.dumps(first), 1)
    assert (found.backbone, found.box_head, found.method) == (expected.backbone, expected.box_head, expected.method)


@pytest.mark.parametrize("edit", [{"backbone": 3}, {"semantics": "paper"}, {"head": [1]}, {"backbone": {"dept": 50}}])
def test_what_does_not_fit_is_one_line(edit):
    with pytest.raises(UserError, match="does not fit") as caught:
        ModelConfig.from_json(json.dumps(FORMAT1["fpn-paper"] | edit), 1)
    assert "\n" not in str(caught.value)
