"""Detectors without initial weights: those of a checkpoint are to be loaded, or only names and shapes matter."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.models.build import build
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.protocols import Backbone


def blank(config: ModelConfig, backbone: Backbone | None = None) -> Detector:
    """Build a detector in float32 on the CPU, without the random initialisation that takes half of the time."""
    with _NoInit(), torch.device("cpu"):
        return build(config, backbone).float()


@lru_cache(maxsize=1)  # a training run saves often
def described(config: ModelConfig) -> dict[str, Tensor]:
    """Return the tensors of a model of this config, without values."""
    # Not built on "meta": that imports torch's compiler, which takes seconds.
    return {name: value.to("meta") for name, value in blank(config).state_dict().items()}


class _NoInit(TorchFunctionMode):
    """Skip random initialisation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))
