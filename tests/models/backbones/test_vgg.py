"""VGG-16 against torchvision's, up to conv5_3."""

from pathlib import Path

import pytest
import torch
import torchvision
from torchvision.models import vgg

from cascade_rcnn import create_model
from cascade_rcnn.config import ResNetConfig, VGGConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.backbones.pretrained import load_pretrained
from cascade_rcnn.models.backbones.resnet import ResNet
from cascade_rcnn.models.backbones.vgg import VGG
from cascade_rcnn.models.build import build_backbone

THIN = VGGConfig(planes=4, frozen_stages=0)
WEIGHTS = Path(__file__).resolve().parents[2] / "../shared/weights/vgg16_features.safetensors"


def test_names_and_map_equal_torchvision_s():
    with torch.device("meta"):
        ours = VGG(VGGConfig()).state_dict()
        theirs = torchvision.models.vgg16().state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items() if k.startswith("features.")}
    torch.manual_seed(0)
    reference = vgg.make_layers(vgg.cfgs["D"])[:30].eval()  # VGG-16's convolutions, without its huge classifier
    ours = VGG(VGGConfig()).eval()
    ours.features.load_state_dict(reference.state_dict())
    x = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        (found,) = ours(x)
        torch.testing.assert_close(found, reference(x))
    assert found.shape == (1, 512, 2, 3)


def test_one_map_of_stride_16():
    backbone = VGG(THIN)
    (found,) = backbone(torch.randn(2, 3, 64, 96))
    assert found.shape == (2, 32, 4, 6)
    assert (backbone.channels, backbone.strides) == ((32,), (16,))


@pytest.mark.parametrize(("frozen", "layers"), [(0, 0), (1, 2), (2, 4), (3, 7), (5, 13)])
def test_frozen_stages_are_the_first_groups_of_convolutions(frozen, layers):
    """2, 2, 3, 3 and 3 convolutions."""
    backbone = build_backbone(VGGConfig(planes=4, frozen_stages=frozen))
    trained = [p.requires_grad for name, p in backbone.named_parameters() if name.endswith("weight")]
    assert trained == [False] * layers + [True] * (13 - layers)


def test_pretrained_weights_freeze_conv1_and_conv2(tmp_path):
    torch.save(VGG(THIN).state_dict() | {"classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg.pth")
    model = create_model("cascade_rcnn_vgg16", 2, weights_backbone=tmp_path / "vgg.pth", backbone_width=4, head_width=8)
    trained = [p.requires_grad for name, p in model.backbone.named_parameters() if name.endswith("weight")]
    assert trained == [False] * 4 + [True] * 9


def test_files_that_hold_something_else(tmp_path):
    torch.save(ResNet(ResNetConfig(depth=18, stem=4, planes=4)).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(UserError, match="not weights of a vgg16"):
        load_pretrained(VGG(THIN), THIN, tmp_path / "resnet.pth")


def test_a_file_in_half_precision():
    if not WEIGHTS.exists():
        pytest.skip(f"no weights at {WEIGHTS}")
    backbone = VGG(VGGConfig())
    load_pretrained(backbone, backbone.config, WEIGHTS)
    assert all(p.dtype == torch.float32 for p in backbone.parameters())
