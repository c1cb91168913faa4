"""Deformable convolutions (DCN and DCNv2)."""

from typing import Any

import torch
from torch import Tensor, nn

from cascade_rcnn.layers.convolution import Conv2d


class DeformableConv2d(Conv2d):
    """A convolution that predicts an offset for each kernel tap at each position (Dai et al. 2017).

    If `modulated`, it predicts a weight for each tap, too (Zhu et al. 2019). `offset_groups` splits the channels into
    groups with separate offsets. It starts as an ordinary convolution (if modulated, with half its weights).

    Networks with such layers are kept in NCHW memory. The operator takes no other, and the layers around it then round
    as in mmdetection, to the bit: offsets of several pixels amplify any other rounding from layer to layer.
    """

    def __init__(self, *geometry: Any, offset_groups: int = 1, modulated: bool = False, **options: Any) -> None:
        """`geometry` and `options` are the arguments of `torch.nn.Conv2d`."""
        super().__init__(*geometry, **options)
        self.offset_groups, self.modulated = offset_groups, modulated
        taps = offset_groups * self.kernel_size[0] * self.kernel_size[1]
        shape = (self.kernel_size, self.stride, self.padding, self.dilation)
        self.offset = Conv2d(self.in_channels, (3 if modulated else 2) * taps, *shape)  # type: ignore[arg-type]
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Zero the layer that predicts the offsets, so that the taps start on the regular grid."""
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        """Convolve in float32 at least: half precision is too coarse for positions in a feature map."""
        from torchvision.ops import deform_conv2d  # imported on demand: it is slow to import, and few models need it

        exact = torch.promote_types(input.dtype, torch.float32)
        found, mask = self.offset(input).to(exact), None
        if self.modulated:
            taps = found.shape[1] // 3
            found, mask = found[:, : 2 * taps], found[:, 2 * taps :].sigmoid()
        bias = None if bias is None else bias.to(exact)
        geometry = (self.stride, self.padding, self.dilation)
        with torch.autocast(input.device.type, enabled=False):
            out = deform_conv2d(input.to(exact), found, weight.to(exact), bias, *geometry, mask)  # type: ignore[arg-type]
        return out.to(input.dtype)
