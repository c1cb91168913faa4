"""Migrate configs from older checkpoint formats, with one function per step, on plain JSON values."""

from collections.abc import Callable
from typing import Any

from cascade_rcnn.errors import UserError

Json = dict[str, Any]


def _from_1(old: Json) -> Json:
    """Migrate format 1, which had one class for all backbones and heads and kept RPN options in `semantics`."""
    new = dict(old)
    semantics = dict(old.get("semantics", {}))
    rpn = dict(old.get("rpn", {}))
    for before, after in _RPN_OF_SEMANTICS.items():
        if before in semantics:
            rpn[after] = semantics.pop(before)
    if "rpn_box_beta" in semantics:
        rpn["box_loss"] = {"type": "smooth_l1", "beta": semantics.pop("rpn_box_beta")}
    if "box_beta" in semantics:
        new["box_loss"] = {"type": "smooth_l1", "beta": semantics.pop("box_beta")}
    new |= {"semantics": semantics, "rpn": rpn, "preprocess": {"divisor": 32, **old.get("preprocess", {})}}
    new["backbone"] = _backbone_from_1(dict(old.get("backbone", {})))
    channels = new.pop("pyramid_channels", 256)
    new["pyramid"] = {"type": "single_scale"} if channels is None else {"type": "fpn", "channels": channels}
    head = dict(new.pop("head", {}))
    kind = head.pop("kind", "two_layer")
    new["box_head"] = {"type": "rfcn" if kind == "rfcn" else "conv_fc", **head}
    return new


_RPN_OF_SEMANTICS = {
    "rpn_box_normalizer": "box_normalizer",
    "rpn_by_level": "by_level",
    "rpn_min_match_iou": "low_quality_iou",
    "rpn_rescue_reassigns": "low_quality_reassigns",
    "rpn_anchors": "trained_anchors",
}


def _backbone_from_1(old: Json) -> Json:
    if old.get("family") == "vgg":
        return {"type": "vgg", **{name: old[name] for name in ("planes", "frozen_stages") if name in old}}
    old.pop("family", None)
    norm = {"kind": "norm", "eps": "norm_eps", "folded": "fold_norm"}
    return {
        "type": "resnet",
        "norm": {after: old.pop(before) for after, before in norm.items() if before in old},
        **old,
    }


_STEPS: tuple[Callable[[Json], Json], ...] = (_from_1,)  # the k-th, counted from 1, converts format k to k + 1
FORMAT = len(_STEPS) + 1


def migrate(config: Json, format: int) -> Json:  # noqa: A002
    """Migrate a config from `format` to the current one. Raises UserError if it is not a config, or a newer one."""
    if not isinstance(config, dict):
        raise UserError("the model config is not a JSON object; copy the checkpoint again")
    if format > FORMAT:
        raise UserError(
            f"was written by a newer cascade-rcnn (format {format}, this one reads up to {FORMAT}); update the package"
        )
    try:
        for step in _STEPS[format - 1 :]:
            config = step(config)
    except (TypeError, ValueError, AttributeError) as error:  # a part that is not an object
        raise UserError(f"the model config does not fit format {format} ({error}); copy the checkpoint again") from None
    return config
