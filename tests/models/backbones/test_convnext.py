"""ConvNeXt against torchvision's and timm's."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.convnext import ConvNeXt as Theirs

from cascade_rcnn.config import ConvNeXtConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.architectures import _CONVNEXTS
from cascade_rcnn.models.backbones.convnext import ConvNeXt
from cascade_rcnn.models.backbones.pretrained import load_pretrained

THIN = ConvNeXtConfig(width=8, depths=(1, 2, 2, 1))


def pixels(height: int = 64, width: int = 96) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def unlike(module: nn.Module) -> nn.Module:
    """Give every parameter non-trivial values."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.3 + 1 if parameter.ndim == 1 else noise * parameter[0].numel() ** -0.5)
    return module.eval()


def normalised(x: Tensor) -> Tensor:
    return nn.functional.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], eps=1e-6).permute(0, 3, 1, 2)


@torch.no_grad()
def test_maps_equal_torchvision_s(tmp_path):
    widths, depths = (8, 16, 32, 64), (1, 2, 2, 1)
    stages = [CNBlockConfig(c, n, d) for c, n, d in zip(widths, (*widths[1:], None), depths, strict=True)]
    theirs = unlike(Theirs(stages, num_classes=3))
    torch.save(theirs.state_dict(), tmp_path / "convnext.pth")
    ours = ConvNeXt(THIN).eval()
    load_pretrained(ours, THIN, tmp_path / "convnext.pth")
    x, expected = pixels(64, 96), []
    found = ours(x)
    for k, part in enumerate(theirs.features):
        x = part(x)
        if k % 2:
            expected.append(normalised(x))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_maps_equal_timm_s(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = unlike(timm.models.convnext.ConvNeXt(dims=(8, 16, 32, 64), depths=(1, 2, 2, 1), num_classes=3))
    torch.save({"model": theirs.state_dict()}, tmp_path / "convnext.pth")
    ours = ConvNeXt(THIN).eval()
    load_pretrained(ours, THIN, tmp_path / "convnext.pth")
    expected = theirs.forward_intermediates(pixels(64, 96), intermediates_only=True)
    for one, other in zip(ours(pixels(64, 96)), expected, strict=True):
        torch.testing.assert_close(one, normalised(other), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["tiny", "small", "base", "large"])
def test_names_and_shapes_are_torchvision_s(name):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"convnext_{name}")().state_dict()
        ours = ConvNeXt(_CONVNEXTS[f"convnext_{name}"]).state_dict()
    expected = {k: v.shape for k, v in theirs.items() if k.startswith("features.")}
    assert {k: v.shape for k, v in ours.items() if not k.startswith("output_norm.")} == expected


def test_the_largest_has_the_published_number_of_parameters():
    """It has 350 million, including the classifier's 2."""
    with torch.device("meta"):
        number = sum(p.numel() for p in ConvNeXt(_CONVNEXTS["convnext_xlarge"]).parameters())
    assert 347e6 < number < 350e6


def test_layers_are_those_of_the_authors_learning_rates():
    """6 and 12 above the stem: stage 1, stage 2, stage 3 in groups of three blocks, stage 4."""
    assert _CONVNEXTS["convnext_tiny"].layers == 1 + 6
    assert _CONVNEXTS["convnext_small"].layers == 1 + 12
    with torch.device("meta"):
        network = ConvNeXt(_CONVNEXTS["convnext_tiny"])
    names = {id(p): name for name, p in network.named_parameters()}
    places = [sorted({names[id(p)].rsplit(".block", 1)[0] for p in layer.parameters()}) for layer in network.layers()]
    assert places[0] == ["features.0.0.bias", "features.0.0.weight", "features.0.1.bias", "features.0.1.weight"]
    assert [part for part in places[4] if "scale" not in part] == [f"features.5.{k}" for k in (3, 4, 5)]


def test_checkpointing_changes_no_gradient():
    found = []
    for again in (False, True):
        ours = unlike(ConvNeXt(ConvNeXtConfig(width=8, depths=(1, 1, 2, 1), drop_path=0.5, checkpointing=again)))
        torch.manual_seed(0)
        sum(m.sum() for m in ours.train()(pixels(64, 64))).backward()
        found.append([p.grad for p in ours.parameters()])
    assert all(bool(g.isfinite().all()) for g in found[0])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_files_of_another_size(tmp_path):
    torch.save(ConvNeXt(ConvNeXtConfig(width=8, depths=(1, 1, 1, 1))).state_dict(), tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"not weights of a convnext: 'features.3.1.*' is missing"):
        load_pretrained(ConvNeXt(THIN), THIN, tmp_path / "other.pth")
