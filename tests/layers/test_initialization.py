import torch
from torch import nn

from cascade_rcnn.layers.initialization import he_normal_


def test_convolutions_before_a_relu_start_as_torch_would_start_them():
    for layer in (nn.Conv2d(6, 8, (3, 5), groups=2), nn.ConvTranspose2d(6, 8, 2)):
        torch.manual_seed(0)
        he_normal_(layer.weight)
        expected = torch.empty_like(layer.weight)
        torch.manual_seed(0)
        nn.init.kaiming_normal_(expected, mode="fan_out", nonlinearity="relu")
        torch.testing.assert_close(layer.weight.detach(), expected)
