"""The head of convolutions and fully connected layers, by hand."""

import pytest
import torch
from torch import Tensor, nn

from cascade_rcnn.config import ConvFCHeadConfig, NormConfig
from cascade_rcnn.heads.conv_fc import ConvFCHead


class Given(nn.Module):
    """A pool that pools nothing: the first feature map holds the boxes' features, (B, K, C) or (B, K, C, S, S)."""

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        x = features[0].flatten(0, 1)
        return x if x.ndim == 4 else x[..., None, None]


def boxes_for(features: Tensor) -> Tensor:
    """Return as many boxes as there are features, none of them empty."""
    return torch.tensor([0.0, 0, 8, 8]).expand(*features.shape[:2], 4)


def run(head: ConvFCHead, features: Tensor) -> tuple[Tensor, Tensor]:
    return head([features], boxes_for(features))


@pytest.mark.parametrize(("agnostic", "regressors"), [(True, 1), (False, 5)])
def test_shapes(agnostic, regressors):
    head = ConvFCHead(Given(), 12, 1, 5, ConvFCHeadConfig(width=8, class_agnostic=agnostic))
    logits, deltas = run(head, torch.randn(2, 7, 12))
    assert logits.shape == (2, 7, 6)
    assert deltas.shape == (2, 7, regressors, 4)


def test_class_c_s_deltas_are_rows_4c_to_4c_plus_3():
    head = ConvFCHead(Given(), 3, 1, 2, ConvFCHeadConfig(width=1, class_agnostic=False))
    with torch.no_grad():
        for layer in (head.fc1, head.fc2):
            layer.weight.fill_(1)
        head.regressor.weight.copy_(torch.arange(8.0)[:, None])
        head.regressor.bias.fill_(0.5)
        head.classifier.weight.copy_(torch.tensor([[1.0], [-1], [2]]))
    logits, deltas = run(head, torch.tensor([[[1.0, 0, 1], [-3, 0, 1]]]))  # the sums are 2 and -2, which ReLU sets to 0
    assert logits.tolist() == [[[2, -2, 4], [0, 0, 0]]]
    assert deltas[0, 0].tolist() == [[0.5, 2.5, 4.5, 6.5], [8.5, 10.5, 12.5, 14.5]]
    assert deltas[0, 1].tolist() == [[0.5] * 4] * 2


def test_outputs_are_float32_under_autocast():
    head = ConvFCHead(Given(), 12, 1, 5, ConvFCHeadConfig(width=8))
    with torch.autocast("cpu", torch.bfloat16):
        logits, deltas = run(head, torch.randn(2, 7, 12))
    assert logits.dtype == deltas.dtype == torch.float32


def test_a_new_head_moves_boxes_little_and_prefers_no_class():
    torch.manual_seed(0)
    logits, deltas = run(ConvFCHead(Given(), 196, 1, 5, ConvFCHeadConfig(width=64)), torch.randn(1, 50, 196))
    assert deltas.abs().max() < 1  # in the first stage, a tenth of a box's width
    assert (logits.softmax(-1) - 1 / 6).abs().max() < 0.2


def test_the_losses_of_a_new_head_reach_the_features():
    torch.manual_seed(0)
    features = torch.randn(1, 50, 196, requires_grad=True)
    logits, deltas = run(ConvFCHead(Given(), 196, 1, 5, ConvFCHeadConfig(width=64)), features)
    for output in (logits, deltas):
        (gradient,) = torch.autograd.grad(output[..., 0].sum(), features, retain_graph=True)
        assert gradient.norm(dim=-1).mean() > 0.2  # with a std of 0.01, 0.05


def test_classifiers_side_by_side():
    head = ConvFCHead(Given(), 12, 1, 5, ConvFCHeadConfig(width=8), classifiers=3)
    logits, deltas = run(head, torch.randn(2, 7, 12))
    assert logits.shape == (2, 7, 3 * 6)
    assert deltas.shape == (2, 7, 1, 4)


def test_convolutions_keep_the_bins_and_norms_take_their_biases():
    config = ConvFCHeadConfig(convs=2, conv_channels=6, fcs=1, width=8, norm=NormConfig(kind="group", groups=2))
    head = ConvFCHead(Given(), 3, 9, 5, config)
    assert [head.get_submodule(f"conv{k}").bias for k in (1, 2)] == [None, None]
    assert head.fc1.in_features == 6 * 9
    logits, deltas = run(head, torch.randn(2, 7, 3, 3, 3))
    assert (logits.shape, deltas.shape) == ((2, 7, 6), (2, 7, 1, 4))


def test_a_convolution_by_hand():
    """The centre tap of the kernel doubles the only channel; ReLU removes negative values; the layer sums all bins."""
    head = ConvFCHead(Given(), 1, 4, 1, ConvFCHeadConfig(convs=1, conv_channels=1, fcs=0))
    with torch.no_grad():
        head.conv1.weight.zero_()[0, 0, 1, 1] = 2
        head.classifier.weight.fill_(1)
    logits, _ = run(head, torch.tensor([[1.0, -2, 3, 4]]).view(1, 1, 1, 2, 2))
    assert logits.tolist() == [[[16, 16]]]


def test_empty_slots_do_not_change_what_batch_normalisation_does_to_the_others():
    config = ConvFCHeadConfig(convs=1, conv_channels=4, fcs=1, width=8, norm=NormConfig(kind="batch"))
    torch.manual_seed(0)
    features = torch.randn(2, 5, 3, 2, 2)
    boxes = boxes_for(features).clone()
    boxes[1, 3:] = 0
    full, padded = (ConvFCHead(Given(), 3, 4, 2, config) for _ in range(2))
    padded.load_state_dict(full.state_dict())
    features[1, 3:] = 100.0
    found = padded([features], boxes)[0]
    real = torch.cat([features[0], features[1, :3]])[None]
    expected = full([real], boxes_for(real))[0]
    torch.testing.assert_close(torch.cat([found[0], found[1, :3]]), expected[0])
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(padded.bn1, name), getattr(full.bn1, name))
    reference = nn.BatchNorm2d(4)
    reference(full.conv1(real[0]))
    torch.testing.assert_close(full.bn1.running_var, reference.running_var)
