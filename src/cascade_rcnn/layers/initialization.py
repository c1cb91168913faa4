"""Random initialisation with `torch.nn.init.normal_`, which `load` can skip, unlike `kaiming_normal_`."""

import math

from torch import Tensor, nn


def he_normal_(weight: Tensor) -> None:
    """Fill the weights of a convolution before a ReLU (He et al. 2015, by the number of outputs), (O, I, kH, kW)."""
    nn.init.normal_(weight, std=math.sqrt(2 / (len(weight) * weight[0, 0].numel())))
