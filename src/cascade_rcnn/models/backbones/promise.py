"""Check that an external backbone returns the maps that it declares."""

from typing import Any

import torch
from torch import Tensor, nn

from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.models.modes import evaluating

_SIZE = (96, 160)  # pixels for a stride of 32: not square, and unlike the sizes that networks are pretrained on


def check_promise(backbone: Any, label: str) -> None:
    """Run a module on a blank image. Raises UserError if it is no backbone, or its maps differ from its declaration."""
    if not isinstance(backbone, nn.Module):
        raise UserError(f"backbone={backbone!r}: give a name, or a torch.nn.Module with channels and strides")
    channels, strides = _numbers(backbone, "channels", label), _numbers(backbone, "strides", label)
    if len(channels) != len(strides) or list(strides) != sorted(strides):
        raise UserError(f"{label}: channels={channels}, strides={strides}; give one of each per map, finest first")
    height, width = (side * strides[-1] // 32 for side in _SIZE)
    maps = _maps(backbone, label, height, width)
    shapes = [tuple(x.shape) for x in maps]
    promised = [(1, c, height // s, width // s) for c, s in zip(channels, strides, strict=True)]
    if shapes != promised:
        raise UserError(
            f"{label}: for an image of {height} x {width} pixels, its maps have shapes {shapes}, but channels and "
            f"strides declare {promised}"
        )


def _numbers(backbone: nn.Module, name: str, label: str) -> tuple[int, ...]:
    found = getattr(backbone, name, None)
    if not isinstance(found, tuple | list) or not found or not all(type(x) is int and x > 0 for x in found):
        raise UserError(f"{label}: {name} is {found!r}; give a tuple of positive integers, one for each of its maps")
    return tuple(found)


def _maps(backbone: nn.Module, label: str, height: int, width: int) -> list[Tensor]:
    place = next((parameter.device for parameter in backbone.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad(), evaluating(backbone):
            maps = backbone(torch.zeros((1, 3, height, width), device=place))
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError, AttributeError) as error:
        raise UserError(
            f"{label}: cannot take an image of {height} x {width} pixels ({reason(error)}); choose a network that "
            f"takes images of any size, padded to multiples of {height // 3}"
        ) from None
    if not isinstance(maps, list | tuple) or not all(isinstance(x, Tensor) for x in maps):
        raise UserError(f"{label}: returns {type(maps).__name__}; return the maps as a list of tensors (B, C, H, W)")
    return list(maps)
