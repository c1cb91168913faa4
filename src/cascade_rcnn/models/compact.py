"""8-bit weights for the checkpoint shipped with the package, a quarter of its size in float32.

Every weight with two or more dimensions is stored as integers -127..127 with one scale per output channel (the first
dimension); biases and statistics are unchanged.
"""

import torch
from torch import Tensor

_SCALE = ".int8_scale"


def pack(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compress tensors by name: each weight (N, ...) becomes int8 (N, ...) and float32 scales (N,)."""
    packed = {}
    for name, value in state.items():
        if value.ndim < 2 or not value.is_floating_point():
            packed[name] = value
            continue
        rows = value.float().flatten(1)
        scale = rows.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        packed[name] = (rows / scale[:, None]).round().to(torch.int8).view(value.shape)
        packed[name + _SCALE] = scale
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Invert `pack`, up to half an integer step; a state dict that was never packed is returned unchanged."""
    state = {}
    for name, value in packed.items():
        if name.endswith(_SCALE):
            continue
        scale = packed.get(name + _SCALE)
        state[name] = value if scale is None else value.float() * scale.view(-1, *[1] * (value.ndim - 1))
    return state
