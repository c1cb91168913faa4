"""ResNets give torchvision's features from torchvision's weights; wrong weights are one line."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FrozenBatchNorm2d

from cascade_rcnn.config import ResNet as Config
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.backbones import ResNet, load_pretrained
from cascade_rcnn.models.build import create_model
from cascade_rcnn.tensor_files import read_state

LAYERS = ("layer1", "layer2", "layer3", "layer4")
TINY = {"stem": 8, "planes": 8}


def random_statistics(module: nn.Module) -> nn.Module:
    """As of a trained network: every normalisation differs, and values stay in range."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(getattr(part, "running_var", None), torch.Tensor):
            for name, low, high in (("weight", 0.2, 0.6), ("bias", -0.2, 0.2), ("running_mean", -0.2, 0.2)):
                value = torch.empty(part.running_var.shape).uniform_(low, high, generator=generator)
                getattr(part, name).data.copy_(value)
            part.running_var.uniform_(0.5, 2.0, generator=generator)
    return module


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_features_equal_torchvision_s(depth, norm, tmp_path):
    layer = FrozenBatchNorm2d if norm == "frozen" else nn.BatchNorm2d
    theirs = random_statistics(getattr(torchvision.models, f"resnet{depth}")(norm_layer=layer)).eval()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = ResNet(Config(depth=depth, norm=norm)).eval()
    load_pretrained(ours, tmp_path / "weights.safetensors")
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = IntermediateLayerGetter(theirs, {name: name for name in LAYERS})(image)
        found = ours(image)
    assert [x.shape[1] for x in found] == list(ours.channels)
    for name, stride, x in zip(LAYERS, ours.strides, found, strict=True):
        assert x.shape[-2:] == (64 // stride, 96 // stride)
        torch.testing.assert_close(x, expected[name], rtol=1e-4, atol=1e-4)


def test_a_grouped_backbone_has_torchvision_s_shapes():
    with torch.device("meta"):
        theirs = torchvision.models.resnext101_32x8d().state_dict()
        ours = ResNet(Config(depth=101, groups=32, width_per_group=8, norm="batch")).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items() if "fc." not in k}


def test_folding_fixed_statistics_equals_normalising():
    """`affine`: fixed statistics, trained scale and shift; evaluated batch norm with the same numbers agrees."""
    torch.manual_seed(0)
    folded, plain = ResNet(Config(depth=18, norm="affine", **TINY)), ResNet(Config(depth=18, norm="batch", **TINY))
    plain.load_state_dict(random_statistics(folded).state_dict(), strict=False)
    image = torch.randn(1, 3, 64, 64)
    for a, b in zip(folded(image), plain.eval()(image), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    folded(image)[-1].sum().backward()
    assert folded.get_parameter("layer4.0.bn1.weight").grad is not None


def test_stride_in_the_first_or_the_middle_convolution():
    """Caffe's variant strides in the 1x1: the sizes of weights and maps are the same, the values are not."""
    torch.manual_seed(0)
    caffe = ResNet(Config(depth=50, stride_in_1x1=True, **TINY))
    usual = ResNet(Config(depth=50, **TINY))
    usual.load_state_dict(caffe.state_dict())
    image = torch.randn(1, 3, 64, 64)
    ours, theirs = caffe(image), usual(image)
    assert [x.shape for x in ours] == [x.shape for x in theirs]
    torch.testing.assert_close(ours[0], theirs[0])  # no stride in layer1
    assert not torch.allclose(ours[1], theirs[1], atol=1e-3)
    assert caffe.get_submodule("layer2.0.conv1").stride == (2, 2)
    assert usual.get_submodule("layer2.0.conv2").stride == (2, 2)


@pytest.mark.parametrize("frozen", range(6))
def test_freezing(frozen):
    backbone = ResNet(Config(depth=18, norm="affine", frozen_stages=frozen, **TINY))
    parts = ["conv1", "layer1", "layer2", "layer3", "layer4"]
    for number, part in enumerate(parts):
        trained = {p.requires_grad for p in backbone.get_submodule(part).parameters()}
        assert trained == {number >= frozen}, part
    assert backbone.bn1.weight.requires_grad == (frozen == 0)


def test_frozen_statistics_do_not_move_in_training():
    backbone = ResNet(Config(depth=18, norm="frozen", **TINY)).train()
    before = {k: v.clone() for k, v in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(v, before[k]) for k, v in backbone.named_buffers())
    assert not any("bn" in name for name, _ in backbone.named_parameters())


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_random_weights_keep_values_in_range(depth):
    torch.manual_seed(0)
    with torch.no_grad():
        last = ResNet(Config(depth=depth, **TINY)).eval()(torch.randn(1, 3, 64, 64))[-1]
    assert bool(last.isfinite().all())
    assert last.abs().max() < 1e4


# -- weights files -------------------------------------------------------------------------------------------------


def saved(path: Path, depth: int = 18, dtype: torch.dtype = torch.float32, **extra: torch.Tensor) -> Path:
    torch.manual_seed(depth)
    state = ResNet(Config(depth=depth, **TINY)).state_dict() | extra
    state = {name: value.to(dtype) for name, value in state.items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_file_is_read_without_its_classifier(tmp_path, suffix, dtype):
    classifier = {"fc.weight": torch.zeros(10, 64), "fc.bias": torch.zeros(10)}
    path = saved(tmp_path / f"weights{suffix}", dtype=dtype, **classifier)
    backbone = ResNet(Config(depth=18, **TINY))
    load_pretrained(backbone, path)
    for name, value in read_state(path).items():
        if not name.startswith("fc."):
            loaded = backbone.state_dict()[name]
            assert loaded.dtype == torch.float32
            torch.testing.assert_close(loaded, value.float())


def test_weights_of_batch_norm_fill_frozen_and_trained_ones(tmp_path):
    """Files count batches (`num_batches_tracked`); fixed statistics do not."""
    path = tmp_path / "weights.pth"
    torch.save(ResNet(Config(depth=18, norm="batch", **TINY)).state_dict(), path)
    for norm in ("frozen", "affine", "batch"):
        load_pretrained(ResNet(Config(depth=18, norm=norm, **TINY)), path)


def refusal(path: Path | str, depth: int = 18) -> str:
    with pytest.raises(UserError) as caught:
        load_pretrained(ResNet(Config(depth=depth, **TINY)), path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_a_missing_file(tmp_path):
    assert "no such weights file" in refusal(tmp_path / "missing.safetensors")
    assert "no such weights file" in refusal(tmp_path / "missing.pth")


def test_weights_of_another_depth(tmp_path):
    path = saved(tmp_path / "weights.safetensors", depth=34)
    assert "not weights of a ResNet-18" in refusal(path)
    assert "is missing" in refusal(path, depth=50)
    wider = saved(tmp_path / "wider.pth", **{"conv1.weight": torch.zeros(16, 3, 7, 7)})
    assert "conv1.weight: (16, 3, 7, 7) in the file, (8, 3, 7, 7) here" in refusal(wider)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_corrupt_files(tmp_path, suffix):
    path = saved(tmp_path / f"cut{suffix}")
    path.write_bytes(path.read_bytes()[:3000])
    assert "not a readable weights file" in refusal(path)
    for number, rubbish in enumerate((b"", b"rubbish", bytes(range(256)) * 9)):
        path = tmp_path / f"rubbish{number}{suffix}"
        path.write_bytes(rubbish)
        assert "not a readable weights file" in refusal(path)


def test_files_of_other_things(tmp_path):
    path = tmp_path / "nested.pth"
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}}, path)
    assert "not a table of tensors" in refusal(path)
    torch.save(nn.Linear(1, 1), path)  # a pickled module: would need code to be run
    assert "not a readable weights file" in refusal(path)
    assert "not a readable weights file" in refusal(tmp_path)


def test_imagenet_without_network_names_the_way_out(monkeypatch):
    def fail(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fail)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(UserError, match="weights_backbone=PATH") as caught:
        create_model("faster_rcnn_resnet18_fpn", 1, weights_backbone="imagenet", pyramid_channels=16, head_width=32)
    assert "https://download.pytorch.org/models/resnet18" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_imagenet_is_version_1(monkeypatch):
    asked = []

    def record(url, *args, **kwargs):
        asked.append(url)
        raise URLError("offline")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", record)
    for name, version_1 in (("resnet50", "resnet50-0676ba61"), ("resnext101_32x8d", "resnext101_32x8d-8ba56ff5")):
        with pytest.raises(UserError):
            create_model(f"cascade_rcnn_{name}_fpn", 1, weights_backbone="imagenet", pyramid_channels=16, head_width=32)
        assert version_1 in asked[-1]
