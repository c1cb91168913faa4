"""Optimise a model for inference: fold normalisation into convolutions, and store weights in lower precision."""

from copy import copy

import torch
from torch import Tensor, nn

from cascade_rcnn.layers.normalization import FixedBatchNorm


@torch.no_grad()
def fold_norms(model: nn.Module) -> None:
    """Fold every batch normalisation into its convolution's weights, in place; the model is no longer trainable.

    A convolution and its normalisation are paired by name: `convK` and `bnK`, items 0 and 1 of a sequence, or items K
    of the lists `NAME` and `NAME_norm`.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            norms = getattr(parent, f"{name}_norm", None)
            if isinstance(child, nn.ModuleList) and isinstance(norms, nn.ModuleList):
                for k in range(len(child)):
                    _fold(child, str(k), norms, str(k))
            else:
                _fold(parent, name, parent, _partner(name))


def _fold(parent: nn.Module, name: str, norms: nn.Module, partner: str) -> None:
    conv, norm = getattr(parent, name), getattr(norms, partner, None)
    if isinstance(conv, nn.Conv2d) and isinstance(norm, FixedBatchNorm | nn.BatchNorm2d):
        scale, shift = _affine(norm)
        setattr(parent, name, _scaled(conv, scale, shift))
        setattr(norms, partner, nn.Identity())


def lower_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Store the weights of convolutions and linear layers in `dtype`, so that autocast need not cast at every call."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)


def _partner(name: str) -> str:
    return name.replace("conv", "bn") if name.startswith("conv") else str(int(name) + 1) if name.isdigit() else ""


def _affine(norm: FixedBatchNorm | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    if isinstance(norm, FixedBatchNorm):
        return norm.affine()
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _scaled(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> nn.Conv2d:
    made = copy(conv)  # keeps the class, which may be a subclass
    made._parameters = {
        "weight": nn.Parameter(conv.weight * scale[:, None, None, None]),
        "bias": nn.Parameter(shift),
    }
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
