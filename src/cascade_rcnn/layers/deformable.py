"""Convolutions whose taps move to where the features are.

K taps, of one kernel or of each group of offsets
"""

from typing import Any

import torch
from torch import Tensor, nn

from cascade_rcnn.layers.convolution import Conv2d


class DeformableConv2d(Conv2d):
    """A convolution that finds an offset for each tap at each position (Dai et al. 2017).

    `modulated`: a weight for each, too (Zhu et al. 2019); `offset_groups`: parts of the channels with offsets of their
    own. It starts as the ordinary convolution (modulated: with half its weights).
    """

    def __init__(self, *geometry: Any, offset_groups: int = 1, modulated: bool = False, **options: Any) -> None:
        """`geometry` and `options` are those of `torch.nn.Conv2d`."""
        super().__init__(*geometry, **options)
        self.offset_groups, self.modulated = offset_groups, modulated
        taps = offset_groups * self.kernel_size[0] * self.kernel_size[1]
        shape = (self.kernel_size, self.stride, self.padding, self.dilation)
        self.offset = Conv2d(self.in_channels, (3 if modulated else 2) * taps, *shape)  # type: ignore[arg-type]
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Let every tap be where an ordinary convolution has it."""
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        """Positions are float32 even where features are not: half of the digits do not do for a place in a map."""
        from torchvision.ops import deform_conv2d  # late: it takes longer to import than torch, and few models need it

        exact = torch.promote_types(input.dtype, torch.float32)
        found, mask = self.offset(input).to(exact), None
        if self.modulated:
            taps = found.shape[1] // 3
            found, mask = found[:, : 2 * taps], found[:, 2 * taps :].sigmoid()
        bias = None if bias is None else bias.to(exact)
        geometry = (self.stride, self.padding, self.dilation)
        with torch.autocast(input.device.type, enabled=False):
            out = deform_conv2d(input.to(exact), found, weight.to(exact), bias, *geometry, mask)  # type: ignore[arg-type]
        return out.to(input.dtype).contiguous(memory_format=torch.channels_last)
