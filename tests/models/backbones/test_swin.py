"""Swin against torchvision's and timm's."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer

from cascade_rcnn import create_model
from cascade_rcnn.config import SwinConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.architectures import _SWINS
from cascade_rcnn.models.backbones import swin
from cascade_rcnn.models.backbones.pretrained import load_pretrained
from cascade_rcnn.models.backbones.swin import Swin

THIN = SwinConfig(width=8, depths=(2, 2, 2, 2), heads=1)


def pixels(height: int = 256, width: int = 320) -> Tensor:
    """Return an image, by default so large that every map is larger than a window."""
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def unlike(module: nn.Module) -> nn.Module:
    """Give every parameter non-trivial values."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.3 + 1 if parameter.ndim == 1 else noise * parameter[0].numel() ** -0.5)
    return module.eval()


@torch.no_grad()
def test_maps_equal_torchvision_s(tmp_path):
    theirs = unlike(SwinTransformer([4, 4], 8, [2, 2, 2, 2], [1, 2, 4, 8], [7, 7], num_classes=3))
    torch.save(theirs.state_dict(), tmp_path / "swin.pth")
    ours = Swin(THIN).eval()
    load_pretrained(ours, THIN, tmp_path / "swin.pth")
    x, expected = pixels(), []
    found = ours(x)
    for k, part in enumerate(theirs.features):
        x = part(x)
        if k % 2:
            expected.append(nn.functional.layer_norm(x, x.shape[-1:]).permute(0, 3, 1, 2))
    assert tuple(m.shape[1] for m in found) == ours.channels
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_maps_equal_timm_s(tmp_path):
    """The size needs no padding: timm shifts a map before padding it, all others after."""
    timm = pytest.importorskip("timm")
    theirs = unlike(
        timm.models.swin_transformer.SwinTransformer(
            img_size=(448, 448), embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), num_classes=3
        )
    )
    torch.save(theirs.state_dict(), tmp_path / "swin.pth")
    ours = Swin(THIN).eval()
    load_pretrained(ours, THIN, tmp_path / "swin.pth")
    expected = theirs.forward_intermediates(pixels(448, 448), intermediates_only=True)
    for one, other in zip(ours(pixels(448, 448)), expected, strict=True):
        other = nn.functional.layer_norm(other.permute(0, 2, 3, 1), other.shape[1:2]).permute(0, 3, 1, 2)
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["swin_t", "swin_s", "swin_b"])
def test_names_and_shapes_are_torchvision_s(name):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)().state_dict()
        ours = Swin(_SWINS[name]).state_dict()
    expected = {k: v.shape for k, v in theirs.items() if k.startswith("features.") and "_index" not in k}
    assert {k: v.shape for k, v in ours.items() if not k.startswith("output_norm.")} == expected


def test_the_largest_has_the_published_number_of_parameters():
    """It has 195 million without the classifier's."""
    with torch.device("meta"):
        number = sum(p.numel() for p in Swin(_SWINS["swin_l"]).parameters())
    assert 194e6 < number < 196e6


@pytest.mark.parametrize(("height", "width"), [(14, 21), (7, 9), (5, 7), (15, 30)])
def test_what_a_shift_brings_together_is_kept_apart(height, width):
    """By definition: regions of the padded and shifted map are numbered, and only equal numbers see each other."""
    window, shift = 7, 3
    rows, columns = (-(-side // window) for side in (height, width))
    numbers = torch.zeros(rows * window, columns * window)
    for k, down in enumerate((slice(-window, -shift), slice(-shift, None)), start=1):
        numbers[down] += 10 * k
        numbers[:, down] += k
    tokens = numbers.view(rows, window, columns, window).transpose(1, 2).reshape(-1, window**2)
    expected = (tokens[:, None] != tokens[:, :, None]) * -100.0
    found = swin._apart(height, width, window, shift, torch.device("cpu"))
    assert torch.equal(found[:, 0], expected)


def test_images_of_a_batch_do_not_see_each_other():
    ours = unlike(Swin(THIN))
    both = torch.cat([pixels(64, 96), -pixels(64, 96)])
    with torch.no_grad():
        for together, first, second in zip(ours(both), ours(both[:1]), ours(both[1:]), strict=True):
            torch.testing.assert_close(together, torch.cat([first, second]), rtol=1e-4, atol=1e-4)


def test_checkpointing_changes_no_gradient():
    found = []
    for again in (False, True):
        ours = Swin(SwinConfig(width=8, depths=(1, 2, 1, 1), heads=1, drop_path=0.5, checkpointing=again)).train()
        unlike(ours).train()
        torch.manual_seed(0)
        sum(m.sum() for m in ours(pixels(64, 64))).backward()
        found.append([p.grad for p in ours.parameters()])
    assert all(bool(g.isfinite().all()) for g in found[0])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_without_weights_at_torchvision():
    with pytest.raises(UserError, match="no ImageNet weights of swin_l"), torch.device("meta"):
        create_model("faster_rcnn_swin_l_fpn", 1, weights_backbone="imagenet")


def test_a_width_that_heads_do_not_divide():
    with pytest.raises(UserError, match="width=10 is not a multiple of heads=3"):
        SwinConfig(width=10)
    assert SwinConfig().resized(64).heads == 2
    assert SwinConfig().resized(10).heads == 1
