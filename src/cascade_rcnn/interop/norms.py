"""Convert the normalisation layers of other frameworks."""

from typing import Any, TypeVar

from cascade_rcnn.config import NormConfig, RegNetConfig, Res2NetConfig, replace
from cascade_rcnn.interop.python_config import Settings
from cascade_rcnn.interop.renaming import State

_Backbone = TypeVar("_Backbone", RegNetConfig, Res2NetConfig)


def seen_norm(state: State, name: str) -> NormConfig | None:
    """Infer the kind of the layer with this name: batch normalisation has statistics, group normalisation does not."""
    if f"{name}.weight" not in state:
        return None
    return NormConfig(kind="batch" if f"{name}.running_mean" in state else "group")


def detectron2_norm(name: str, seen: NormConfig | None) -> NormConfig | None:
    """Return the config of the layer that detectron2's `get_norm` makes for a name, if the tensors show a layer."""
    if seen is None or not name:
        return seen
    if name == "LN":
        return NormConfig.of("layer")
    return NormConfig(kind="frozen" if name == "FrozenBN" else "group" if name == "GN" else "batch", folded=False)


def mmdet_norm(seen: NormConfig | None, layer: dict[str, Any] | None) -> NormConfig | None:
    """Complete the config of a layer inferred from tensors with mmdetection's norm_cfg."""
    if seen is None:
        return None
    groups = (layer or {}).get("num_groups", seen.groups)
    return replace(seen, groups=groups, eps=float((layer or {}).get("eps", 1e-5)), folded=False)


def mmdet_backbone_norm(seen: NormConfig, get: Settings) -> NormConfig:
    """Complete the config of a backbone's layers; mmdetection's `norm_eval` fixes the statistics of a batch."""
    norm = mmdet_norm(seen, get("model.backbone.norm_cfg"))
    assert norm is not None
    if norm.kind == "group" or not get("model.backbone.norm_eval", True):
        return norm
    return replace(norm, kind="affine" if get("model.backbone.norm_cfg.requires_grad", True) else "frozen")


def with_mmdet_norm(seen: _Backbone, get: Settings) -> _Backbone:
    """Return a backbone's config with mmdetection's kind of layers, and its stages that are not trained."""
    frozen = get("model.backbone.frozen_stages", -1) + 1
    return replace(seen, norm=mmdet_backbone_norm(seen.norm, get), frozen_stages=frozen)
