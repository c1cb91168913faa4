"""A convolution's values and gradients are torch's own, whatever the memory layout of its backward pass."""

import pytest
import torch
import torch.nn.functional as F

from cascade_rcnn import create_model
from cascade_rcnn.layers import convolution
from cascade_rcnn.layers.convolution import Conv2d, DoublingConv2d, conv2d


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Simulate a processor without AVX-512; return a list that grows with each backward pass in NCHW."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    calls: list[int] = []
    backward = convolution._NCHWBackward.backward
    monkeypatch.setattr(
        convolution._NCHWBackward, "backward", lambda ctx, gradient: calls.append(1) or backward(ctx, gradient)
    )
    return calls


def operands(kernel: int, groups: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 9, 11, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(6, 4 // groups, kernel, kernel, generator=generator)
    return x, weight.contiguous(memory_format=torch.channels_last), torch.randn(6, generator=generator)


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), [(1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 2, 2)])
@pytest.mark.parametrize("learning", ["x", "weight", "all"])
def test_values_and_gradients_are_torch_s(avx2, stride, padding, dilation, groups, learning):
    seen = []
    for function in (conv2d, F.conv2d):
        x, weight, bias = operands(3, groups)
        leaves = {"x": [x], "weight": [weight], "all": [x, weight, bias]}[learning]
        for leaf in leaves:
            leaf.requires_grad_()
        out = function(x, weight, bias, (stride,) * 2, (padding,) * 2, (dilation,) * 2, groups)
        (out * torch.arange(out.shape[-1])).square().sum().backward()
        seen.append([out, *(leaf.grad for leaf in leaves)])
    assert len(avx2) == 1
    for ours, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
        if ours.ndim == 4:
            assert ours.is_contiguous(memory_format=torch.channels_last)


def test_only_large_kernels_that_learn_in_float32_without_avx512(avx2, monkeypatch):
    def passes(kernel: int = 3, *, dtype: torch.dtype = torch.float32) -> int:
        x, weight, bias = operands(kernel)
        layer = Conv2d(4, 6, kernel, padding=kernel // 2)
        layer.weight.data, layer.bias.data = weight, bias  # pyright: ignore[reportOptionalMemberAccess]
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            layer(x).float().sum().backward()
        return len(avx2)

    assert passes(1) == 0  # stride 1
    assert passes(3, dtype=torch.bfloat16) == 0
    assert passes(3) == 1
    with torch.no_grad():
        assert type(conv2d(*operands(3), (1, 1), (1, 1), (1, 1), 1)) is torch.Tensor
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert passes(3) == 1


def test_a_detector_s_gradients_are_the_same_on_both_processors(avx2, monkeypatch):
    torch.manual_seed(0)
    tiny = {"pyramid_channels": 8, "head_width": 16, "proposals": 20, "rois": 8, "min_size": 64}
    model = create_model("cascade_rcnn_resnet18_fpn", 2, **tiny)
    targets = [{"boxes": torch.tensor([[5.0, 5, 40, 50], [30, 10, 60, 60]]), "labels": torch.tensor([1, 2])}]
    image, seen = torch.rand(3, 64, 96), []
    for capability in ("AVX2", "AVX512"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        model.zero_grad()
        torch.manual_seed(1)
        torch.stack(list(model([image], targets).values())).sum().backward()
        seen.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert len(avx2) >= 15
    torch.testing.assert_close(*seen, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [8, 16])
def test_strided_1x1_on_few_channels(channels, dtype):
    """oneDNN's backward pass may crash at sizes like these."""
    x = torch.randn(2, channels, 152, 256).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(32, channels, 1, 1).to(memory_format=torch.channels_last)  # in both layouts at once
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        out = conv2d(x, weight, None, (2, 2), (0, 0), (1, 1), 1)
    atol = 1e-4 if dtype == torch.float32 else 0.2
    torch.testing.assert_close(out.float(), torch.nn.functional.conv2d(x, weight, stride=2), rtol=0, atol=atol)
    (out.float() * torch.arange(out.shape[-1])).sum().backward()
    expected = torch.zeros_like(x)
    expected[:, :, ::2, ::2] = (weight[:, :, 0, 0].sum(dim=0)[:, None, None] * torch.arange(out.shape[-1]))[None]
    scale = float(expected.abs().max())
    torch.testing.assert_close(x.grad / scale, expected / scale, rtol=0, atol=1e-6 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_doubling_convolution_is_torch_s_transposed_one(layout):
    torch.manual_seed(0)
    layer = DoublingConv2d(3, 5)
    x = torch.randn(2, 3, 4, 6).to(memory_format=layout).requires_grad_()
    out = layer(x)
    expected = F.conv_transpose2d(x, layer.weight, layer.bias, 2)
    assert out.shape == (2, 5, 8, 12)
    torch.testing.assert_close(out, expected)
    leaves, seed = [x, layer.weight, layer.bias], torch.randn_like(out)
    torch.testing.assert_close(torch.autograd.grad(out, leaves, seed), torch.autograd.grad(expected, leaves, seed))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), out)
