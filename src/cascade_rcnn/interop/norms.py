"""The peers' names of normalisation layers."""

from typing import Any

from cascade_rcnn.config import NormConfig, replace
from cascade_rcnn.interop.python_config import Settings
from cascade_rcnn.interop.renaming import State


def seen_norm(state: State, name: str) -> NormConfig | None:
    """Describe the layer of this name: batch normalisation has statistics, group normalisation has none."""
    if f"{name}.weight" not in state:
        return None
    return NormConfig(kind="batch" if f"{name}.running_mean" in state else "group")


def detectron2_norm(name: str, seen: NormConfig | None) -> NormConfig | None:
    """Return the layer that detectron2's `get_norm` makes of a name, where the tensors show one at all."""
    if seen is None or not name:
        return seen
    if name == "LN":
        return NormConfig.of("layer")
    return NormConfig(kind="frozen" if name == "FrozenBN" else "group" if name == "GN" else "batch", folded=False)


def mmdet_norm(seen: NormConfig | None, layer: dict[str, Any] | None) -> NormConfig | None:
    """Complete what the tensors show of a layer by mmdetection's norm_cfg."""
    if seen is None:
        return None
    groups = (layer or {}).get("num_groups", seen.groups)
    return replace(seen, groups=groups, eps=float((layer or {}).get("eps", 1e-5)), folded=False)


def mmdet_fixed(norm: NormConfig, get: Settings) -> NormConfig:
    """Fix the statistics of a backbone's batch normalisation, as mmdetection's `norm_eval` does."""
    if norm.kind == "group" or not get("model.backbone.norm_eval", True):
        return norm
    return replace(norm, kind="affine" if get("model.backbone.norm_cfg.requires_grad", True) else "frozen")
