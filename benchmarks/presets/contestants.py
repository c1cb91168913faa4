"""The presets as configs of one network, and the default with single differences of another preset."""

from collections.abc import Sequence
from typing import Any

from cascade_rcnn.config import Category, ModelConfig, ModelOptions, replace
from cascade_rcnn.models.configure import model_config

MODEL = "cascade_rcnn_resnet18_fpn"
DEFAULT = "detectron2"  # of new models
PRESETS = ("paper", DEFAULT, "mmdet")
# The differences between presets, as groups of fields that belong to one decision.
SWITCHES = {  # the most important ones first, presumably
    "scores": ("semantics.ensemble", "semantics.ensemble_rois", "inference.score_threshold"),
    "rate of biases": ("semantics.bias_lr_multiplier",),
    "weights of the stages": ("semantics.average_pooled_gradient", "stages"),
    "box loss of the heads": ("box_loss",),
    "RPN box loss": ("rpn.box_loss", "rpn.box_normalizer"),
    "RPN by level": ("rpn.shared", "rpn.by_level", "rpn.anchors.sizes"),
    "RPN labels": ("rpn.low_quality_iou", "rpn.low_quality_reassigns", "rpn.trained_anchors"),
    "ground truth as boxes": ("semantics.append_ground_truth", "semantics.drop_near_ground_truth"),
    "resampling": ("semantics.resample",),
    "boxes between stages": ("semantics.clip_between_stages", "semantics.clamp_shrink"),
    "small objects": ("semantics.min_object_size", "rpn.min_size"),
    "centres of anchors": ("rpn.anchors.offset",),
}
_NAME = "semantics.name"


def preset_config(preset: Any, categories: tuple[Category, ...]) -> ModelConfig:
    """Return the config of the common network, as narrow as that of recipe `small`, with the rest from a preset."""
    options = ModelOptions(
        semantics=preset, pyramid_channels=64, head_width=256, anchor_sizes=(16, 32, 64, 128, 256), proposals=300,
        rois=128, min_size=240, max_size=408,
    )  # fmt: skip
    return model_config(MODEL, categories, options, pretrained=True)


def value(config: Any, path: str) -> Any:
    """Return the field at a dotted path."""
    for name in path.split("."):
        config = getattr(config, name)
    return config


def switched(config: Any, source: Any, paths: Sequence[str]) -> Any:
    """Return the config with the fields at these dotted paths taken from `source`."""
    for path in paths:
        config = _with(config, path.split("."), value(source, path))
    return config


def _with(config: Any, names: list[str], new: Any) -> Any:
    first, *rest = names
    return replace(config, **{first: _with(getattr(config, first), rest, new) if rest else new})


def differing(one: Any, other: Any, prefix: str = "") -> list[str]:
    """Return the dotted paths at which two configs differ, except for the preset's name."""
    found: list[str] = []
    for name in one.__struct_fields__:
        here, there = getattr(one, name), getattr(other, name)
        if here == there or prefix + name == _NAME:
            continue
        nested = type(here) is type(there) and hasattr(here, "__struct_fields__")
        found += differing(here, there, f"{prefix}{name}.") if nested else [prefix + name]
    return found


def contestant(name: str, categories: tuple[Category, ...]) -> ModelConfig:
    """Return the config of a preset, or of the default with one switch from another preset: `paper:resampling`."""
    preset, _, switch = name.partition(":")
    config = preset_config(preset, categories)
    return switched(preset_config(DEFAULT, categories), config, SWITCHES[switch]) if switch else config


def untrained(name: str) -> bool:
    """Return whether a contestant differs from the default at inference only, and thus has the same weights."""
    return name.endswith(":scores")


def switch_names(categories: tuple[Category, ...] = (Category(),)) -> list[str]:
    """List the switches as `contestant` takes them; one that two presets share is listed once."""
    base, found = preset_config(DEFAULT, categories), {}
    for preset in PRESETS:
        for switch in SWITCHES:
            config = contestant(f"{preset}:{switch}", categories)
            if config != base:
                found.setdefault(config.to_json(), f"{preset}:{switch}")
    return list(found.values())
