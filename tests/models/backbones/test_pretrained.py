"""Pretrained weights: files that fit and files that do not."""

import argparse
import re
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cascade_rcnn.config import NormConfig
from cascade_rcnn.config import ResNetConfig as Config
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.backbones.pretrained import load_pretrained
from cascade_rcnn.models.backbones.resnet import ResNet
from cascade_rcnn.models.create import create_model
from cascade_rcnn.tensor_files import read

LAYERS = ("layer1", "layer2", "layer3", "layer4")
TINY = {"stem": 8, "planes": 8}


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
    load_pretrained(backbone, backbone.config, path)
    for name, value in read(path).state.items():
        if not name.startswith("fc."):
            loaded = backbone.state_dict()[name]
            assert loaded.dtype == torch.float32
            torch.testing.assert_close(loaded, value.float())


def test_weights_of_batch_norm_fill_frozen_and_trained_ones(tmp_path):
    """Files count batches (`num_batches_tracked`); frozen statistics do not."""
    path = tmp_path / "weights.pth"
    torch.save(ResNet(Config(depth=18, norm=NormConfig(kind="batch"), **TINY)).state_dict(), path)
    for norm in ("frozen", "affine", "batch"):
        config = Config(depth=18, norm=NormConfig(kind=norm), **TINY)
        load_pretrained(ResNet(config), config, path)


def refusal(path: Path | str, depth: int = 18) -> str:
    with pytest.raises(UserError) as caught:
        load_pretrained(ResNet(Config(depth=depth, **TINY)), Config(depth=depth, **TINY), path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_a_missing_file(tmp_path):
    assert "no such checkpoint" in refusal(tmp_path / "missing.safetensors")
    assert "no such checkpoint" in refusal(tmp_path / "missing.pth")


def test_weights_of_another_depth(tmp_path):
    path = saved(tmp_path / "weights.safetensors", depth=34)
    assert "not weights of a resnet18" in refusal(path)
    assert "is missing" in refusal(path, depth=50)
    wider = saved(tmp_path / "wider.pth", **{"conv1.weight": torch.zeros(16, 3, 7, 7)})
    assert "'conv1.weight' is (16, 3, 7, 7) where the model has (8, 3, 7, 7)" in refusal(wider)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_corrupt_files(tmp_path, suffix):
    path = saved(tmp_path / f"cut{suffix}")
    path.write_bytes(path.read_bytes()[:3000])
    assert "not a readable checkpoint" in refusal(path)
    for number, rubbish in enumerate((b"", b"rubbish", bytes(range(256)) * 9)):
        path = tmp_path / f"rubbish{number}{suffix}"
        path.write_bytes(rubbish)
        assert re.search("not a readable checkpoint|more than tensors", refusal(path))


def test_files_of_other_things(tmp_path):
    path = tmp_path / "module.pth"
    torch.save(nn.Linear(1, 1), path)  # which only code could load
    assert "refused: the file refers to 'torch.nn.modules.linear.Linear'" in refusal(path)
    torch.save([1, 2], path)
    assert "contains a list; give a file with a dict of tensors" in refusal(path)
    assert "unknown kind of checkpoint; give a .safetensors, " in refusal(tmp_path)


def test_checkpoints_of_training_scripts(tmp_path):
    """Such as timm's: the weights are in an entry, beside averages and arguments, and have a wrapper's prefix."""
    state = {f"module.{name}": value for name, value in ResNet(Config(depth=18, **TINY)).state_dict().items()}
    path = tmp_path / "model_best.pth.tar"
    torch.save({"epoch": 3, "state_dict": state, "state_dict_ema": state, "args": argparse.Namespace(lr=0.1)}, path)
    backbone = ResNet(Config(depth=18, **TINY))
    load_pretrained(backbone, backbone.config, path)
    assert backbone.conv1.weight.equal(state["module.conv1.weight"])


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
