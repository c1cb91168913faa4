"""Rename the weights of Swin and ConvNeXt classifiers from the authors' and timm's names to torchvision's."""

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from torch import Tensor

_Rows: TypeAlias = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]  # patterns and their replacements


def _at(module: str, shift: int) -> Callable[[re.Match[str]], str]:
    """Rename a stage: stage k becomes item 2 * k + `shift` of torchvision's features, followed by `module`."""
    return lambda match: f"features.{2 * int(match[1]) + shift}.{match.expand(module)}"


_SWIN: _Rows = (
    (r"patch_embed\.proj", "features.0.0"),
    (r"patch_embed\.norm", "features.0.2"),
    (r"layers\.(\d)\.blocks\.(\d+)\.mlp\.fc1", _at(r"\2.mlp.0", 1)),
    (r"layers\.(\d)\.blocks\.(\d+)\.mlp\.fc2", _at(r"\2.mlp.3", 1)),
    (r"layers\.(\d)\.blocks\.(\d+)", _at(r"\2", 1)),
)
_MERGING = r"layers\.(\d)\.downsample\.(\w+)"  # after the stage of this number or, in timm, before it
_CONVNEXT: _Rows = (
    (r"stem\.(\d)", r"features.0.\1"),
    (r"downsample_layers\.(\d)\.(\d)", _at(r"\2", 0)),
    (r"stages\.(\d)\.downsample\.(\d)", _at(r"\2", 0)),
    (r"stages\.(\d)\.(?:blocks\.)?(\d+)\.gamma", _at(r"\2.layer_scale", 1)),
    (r"stages\.(\d)\.(?:blocks\.)?(\d+)\.(?:dwconv|conv_dw)", _at(r"\2.block.0", 1)),
    (r"stages\.(\d)\.(?:blocks\.)?(\d+)\.norm", _at(r"\2.block.2", 1)),
    (r"stages\.(\d)\.(?:blocks\.)?(\d+)\.(?:pwconv1|mlp\.fc1)", _at(r"\2.block.3", 1)),
    (r"stages\.(\d)\.(?:blocks\.)?(\d+)\.(?:pwconv2|mlp\.fc2)", _at(r"\2.block.5", 1)),
)


def as_torchvision_s(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a Swin transformer or a ConvNeXt to torchvision's names; other names are kept."""
    merging = (_MERGING, _at(r"\2", 2 if "layers.0.downsample.norm.weight" in state else 0))
    rows = (merging, *_SWIN, *_CONVNEXT)
    renamed = {_renamed(name, rows): tensor for name, tensor in state.items()}
    return {
        name: tensor[:, None, None] if name.endswith("layer_scale") and tensor.ndim == 1 else tensor
        for name, tensor in renamed.items()
    }


def _renamed(name: str, rows: _Rows) -> str:
    for pattern, target in rows:
        found, number = re.subn(rf"^{pattern}(?=\.|$)", target, name)
        if number:
            return found
    return name
