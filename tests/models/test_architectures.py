"""Architectures by name, and their sizes."""

import pytest
import torch

from cascade_rcnn import UserError, create_model, list_models

TABLE_6 = {  # MiB of float32, 80 classes
    "faster_rcnn_vgg16": 278,
    "cascade_rcnn_vgg16": 704,
    "rfcn_resnet50": 133,
    "cascade_rfcn_resnet50": 184,
    "rfcn_resnet101": 206,
    "cascade_rfcn_resnet101": 256,
    "faster_rcnn_resnet50_fpn": 165,
    "cascade_rcnn_resnet50_fpn": 272,
    "faster_rcnn_resnet101_fpn": 238,
    "cascade_rcnn_resnet101_fpn": 345,
}


def test_sizes_of_table_6(capsys):
    """The column "param" of the paper's Table 6, within 3 %."""
    sizes = {}
    for name in TABLE_6:
        with torch.device("meta"):
            model = create_model(name, 80, semantics="paper")
        sizes[name] = sum(p.numel() for p in model.parameters()) * 4 / 2**20
    with capsys.disabled():
        print("\nTable 6, param (MiB)             paper   here")
        for name, published in TABLE_6.items():
            print(f"{name:30} {published:7} {sizes[name]:6.1f}")
    assert sizes == {name: pytest.approx(published, rel=0.03) for name, published in TABLE_6.items()}


@pytest.mark.parametrize("prefix", ["", "iterative_bbox_", "integral_loss_"])
def test_stages_own_their_heads_and_iterations_share_one(prefix):
    """In R-FCN, stages share the dilated layer; each has its own 1x1 convolution and score maps."""
    with torch.device("meta"):
        one = create_model(f"{prefix}rfcn_resnet50", 80)
        three = create_model("cascade_rfcn_resnet50", 80)
    size = {m: sum(p.numel() for p in m.roi_heads.parameters()) for m in (one, three)}
    assert len(one.roi_heads.heads) == 1
    own = 2048 * 1024 + 1024 + 1025 * 49 * (81 * (3 if prefix.startswith("integral") else 1) + 4)
    assert size[one] == own
    assert size[three] == 3 * (2048 * 1024 + 1024 + 1025 * 49 * 85)


def test_names():
    boxes = 76 + 4 * (4 + 5 + 5 + 1)  # Swins, ConvNeXts, MViTs and Res2Net, with each method
    assert len(list_models()) == boxes + len(list_models("*mask*"))
    pyramids = list_models("faster_rcnn_*_fpn") + list_models("faster_rcnn_vit_*")
    assert list_models("mask*") == sorted(name.replace("faster", "mask") for name in pyramids)
    assert list_models("cascade_mask*") == sorted(name.replace("faster", "cascade_mask") for name in pyramids)
    assert list_models() == sorted(list_models())
    asked = ["faster_rcnn_vgg16", "cascade_rcnn_vgg16", "iterative_bbox_vgg16", "iterative_bbox_resnet50_fpn"]
    asked += ["integral_loss_resnet50_fpn", "cascade_rcnn_resnet101_fpn", "iterative_bbox_rfcn_resnet50"]
    asked += [
        f"{kind}_rcnn_{name}_fpn"
        for kind in ("faster", "cascade")
        for name in ("swin_l", "convnext_xlarge", "mvitv2_h", "res2net101")
    ]
    asked += [f"{prefix}rfcn_resnet{depth}" for prefix in ("", "cascade_") for depth in (50, 101)]
    asked += [f"{method}_vit_{size}" for method in ("faster_rcnn", "cascade_rcnn") for size in "blh"]
    assert set(asked) <= set(list_models())


def test_models_are_listed_by_patterns():
    everything = list_models()
    assert list_models("*") == everything == sorted(everything)
    assert list_models("cascade_rcnn_resnet18*") == ["cascade_rcnn_resnet18_fpn"]
    both = list_models("*rfcn*") + [name for name in everything if "rfcn" not in name]
    assert sorted(both) == everything
    assert list_models("resnet") == []


@pytest.mark.parametrize(("option", "value"), [("drop_path", 0.1), ("checkpointing", True)])
def test_options_that_a_backbone_lacks_are_refused(option, value):
    with pytest.raises(UserError, match=f"{option}={value}: vgg16 has no such option"):
        create_model("cascade_rcnn_vgg16", 1, **{option: value})


@pytest.mark.parametrize("kind", ["frozen", "affine", "batch", "group"])
def test_the_backbone_s_norm_is_the_one_asked_for(kind):
    with torch.device("meta"):
        model = create_model("cascade_rcnn_resnet50_fpn", 2, backbone_norm=kind)
        plain = create_model("cascade_rcnn_resnet50_fpn", 2)
    assert model.config.backbone.norm.kind == kind
    assert plain.config.backbone.norm.kind == "batch"
    assert ("backbone.bn1.running_mean" in model.state_dict()) == (kind != "group")
    trained = {name for name, _ in model.backbone.named_parameters()}
    assert ("layer1.0.bn1.weight" in trained) == (kind != "frozen")
    assert model.config.pyramid == plain.config.pyramid


def test_a_network_without_norms_has_none_to_choose():
    with pytest.raises(UserError, match="backbone_norm=group: vgg16 has no such option"):
        create_model("cascade_rcnn_vgg16", 1, backbone_norm="group")
