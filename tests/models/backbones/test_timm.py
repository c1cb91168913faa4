"""timm networks as backbones: their maps, layers and options, and how their weights are loaded."""

import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cascade_rcnn import create_model, find_recipe, load, save
from cascade_rcnn.config import Category, ModelConfig, TimmConfig
from cascade_rcnn.engine.training.prepare import build_model
from cascade_rcnn.errors import UserError
from cascade_rcnn.export.export import SUFFIX, Request, export
from cascade_rcnn.models.architectures import sibling
from cascade_rcnn.models.backbones.timm import Timm, examine
from cascade_rcnn.models.build import build_backbone
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.recipes import with_changes

timm = pytest.importorskip("timm")

TINY = {"pyramid_channels": 16, "rpn_channels": 16, "head_width": 32, "proposals": 50, "rois": 16}
TINY |= {"min_size": 64, "max_size": 128}
# batch norm; layer norm; squeeze and excitation; maps (B, H, W, C); normalisation and activation in one
NETWORKS = ["test_resnet", "test_convnext", "test_efficientnet", "test_mambaout", "test_byobnet"]
BLOCK = r"stages_(\d)\.blocks\.(\d)"


def make(network: str, name: str = "cascade_rcnn_fpn", **options) -> Detector:
    torch.manual_seed(0)
    return create_model(name, 3, backbone=f"timm/{network}", **(TINY | options))


def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, *size, generator=generator) for size in ((64, 80), (50, 64))]


def targets() -> list[dict[str, torch.Tensor]]:
    boxes = torch.tensor([[5.0, 6, 40, 50], [30, 8, 60, 48]])
    return [{"boxes": boxes, "labels": torch.tensor([1, 3])}] * 2


def with_statistics(module: nn.Module) -> nn.Module:
    """Randomise statistics as in a trained network: no normalisation is the identity."""
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.5, 2.0)
    return module


@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_a_checkpoint_and_what_inference_runs(network, tmp_path):
    model = make(network)
    assert model.config.name == "cascade_rcnn_fpn"
    sum(model(images(), targets()).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
    with_statistics(model.backbone)
    save(model, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors", score_threshold=0.0)
    model.roi_heads.inference = loaded.roi_heads.inference
    with torch.no_grad():
        expected, found = model.eval()(images()), loaded(images())
        again = loaded.for_inference()(images())
    for one, other, folded in zip(expected, found, again, strict=True):
        assert len(one["boxes"]) > 0
        assert all(torch.equal(one[key], other[key]) for key in one)
        torch.testing.assert_close(folded["scores"], one["scores"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("network", [*NETWORKS, "swin_tiny_patch4_window7_224", "convformer_s18", "densenet121"])
def test_maps_and_layers(network):
    """The maps are timm's own, channels first; the layers contain each parameter once, starting next to the pixels."""
    with torch.device("meta"):
        backbone = build_backbone(TimmConfig(model=network))
        maps = backbone.eval()(torch.zeros(2, 3, 96, 160))
    assert backbone.strides == (4, 8, 16, 32)
    assert [x.shape for x in maps] == [
        (2, c, 96 // s, 160 // s) for c, s in zip(backbone.channels, backbone.strides, strict=True)
    ]
    layers = [{id(p) for p in layer.parameters()} for layer in backbone.layers()]
    parameters = list(backbone.parameters())
    assert len(layers) > 3
    assert sum(map(len, layers)) == len(parameters)
    assert set.union(*layers) == {id(p) for p in parameters}
    assert id(parameters[0]) in layers[0]


def test_maps_equal_timm_s():
    backbone = with_statistics(Timm(TimmConfig(model="test_resnet"))).eval()
    whole = timm.create_model("test_resnet").eval()
    plain = {re.sub(r"^layer(\d)_", r"layer\1.", name): x for name, x in backbone.network.state_dict().items()}
    assert not whole.load_state_dict(plain, strict=False).unexpected_keys
    pixels = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = whole.forward_intermediates(pixels, intermediates_only=True)[1:]
        torch.testing.assert_close(backbone(pixels), expected)


@pytest.mark.parametrize("network", NETWORKS)
def test_memory_formats_change_no_map(network):
    backbone = with_statistics(Timm(TimmConfig(model=network))).eval()
    pixels = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = backbone(pixels)
        other = backbone.to(memory_format=torch.channels_last)(pixels.to(memory_format=torch.channels_last))  # type: ignore
    torch.testing.assert_close(other, expected, rtol=1e-4, atol=1e-4)


def test_layers_are_those_whose_learning_rates_timm_decays():
    """The stem, then each block together with the downsampling before it: stages of 1, 2, 4 and 2 blocks."""
    backbone = Timm(TimmConfig(model="test_convnext"))
    names = {id(p): name for name, p in backbone.network.named_parameters()}
    blocks = [
        {tuple(map(int, found)) for p in layer.parameters() for found in re.findall(BLOCK, names[id(p)])}
        for layer in backbone.layers()
    ]
    stages = enumerate((1, 2, 4, 2))
    assert blocks == [set(), *({(stage, block)} for stage, number in stages for block in range(number))]
    stem = {names[id(p)] for p in backbone.layers()[0].parameters()}
    assert stem == {"stem_0.weight", "stem_0.bias", "stem_1.weight", "stem_1.bias"}
    (second,) = [layer for layer, of in zip(backbone.layers(), blocks, strict=True) if of == {(1, 0)}]
    assert "stages_1.downsample.1.weight" in {names[id(p)] for p in second.parameters()}


def test_what_timm_spares_from_weight_decay_is_named():
    with torch.device("meta"):
        backbone = Timm(TimmConfig(model="swin_tiny_patch4_window7_224"))
    names = {name for name, _ in backbone.named_parameters()}
    assert backbone.no_decay
    assert backbone.no_decay <= names
    assert all(name.endswith("relative_position_bias_table") for name in backbone.no_decay)


@pytest.mark.parametrize("norm", ["frozen", "affine", "batch"])
def test_batch_normalisation_is_constant_half_or_trained(norm):
    backbone = Timm(TimmConfig(model="test_resnet", norm=norm)).train()
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    before = [module.running_mean.clone() for module in norms]
    backbone(torch.randn(2, 3, 64, 64))
    moved = {not torch.equal(module.running_mean, old) for module, old in zip(norms, before, strict=True)}
    assert moved == {norm == "batch"}
    assert {module.weight.requires_grad for module in norms} == {norm != "frozen"}
    assert backbone.network.conv1[0].weight.requires_grad


def test_layers_are_frozen_from_the_pixels_on():
    number = len(Timm(TimmConfig(model="test_convnext")).layers())
    backbone = make("test_convnext", trainable_layers=number - 2).backbone
    frozen = [not any(p.requires_grad for p in layer.parameters()) for layer in backbone.layers()]
    assert frozen == [True] * 2 + [False] * (number - 2)
    with pytest.raises(UserError, match=rf"the backbone has {number} layers; give 0 to {number}"):
        make("test_convnext", trainable_layers=number + 1)
    with pytest.raises(UserError, match=rf"frozen_stages=99: timm/test_convnext has {number} layers"):
        build_backbone(TimmConfig(model="test_convnext", frozen_stages=99))


def test_drop_path_is_off_outside_of_training():
    model = make("test_convnext", drop_path=0.5)
    rates = [m.drop_prob for m in model.backbone.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.5)
    assert rates == sorted(rates)
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        model.eval()
        torch.testing.assert_close(model.backbone(pixels)[-1], model.backbone(pixels)[-1], rtol=0, atol=0)


def test_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = make("test_convnext", checkpointing=checkpointing)
        assert model.config.backbone.checkpointing is checkpointing
        torch.manual_seed(1)
        sum(model(images(), targets()).values()).backward()
        gradients.append([p.grad for p in model.backbone.parameters()])
        assert model.backbone.network.grad_checkpointing is checkpointing
        assert model.eval().backbone.network.grad_checkpointing is False
    torch.testing.assert_close(*gradients)


def test_checkpointing_would_count_a_batch_twice_in_trained_statistics():
    trained = Timm(TimmConfig(model="resnet18", norm="batch", checkpointing=True))
    with pytest.raises(UserError, match=r"checkpointing=True: timm/resnet18 trains its batch normalisation"):
        trained(torch.rand(1, 3, 32, 32))
    with torch.no_grad():
        assert trained.eval()(torch.rand(1, 3, 32, 32))
    assert Timm(TimmConfig(model="resnet18", norm="affine", checkpointing=True))(torch.rand(1, 3, 32, 32))


def test_bf16():
    model = make("test_convnext")
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images(), targets())
    sum(losses.values()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


def test_colours_are_those_the_network_is_made_for():
    preprocess = make("test_resnet").config.preprocess
    cfg = timm.get_pretrained_cfg("test_resnet")
    assert (preprocess.mean, preprocess.std) == (cfg.mean, cfg.std)
    assert preprocess.mean != ModelConfig().preprocess.mean


def test_an_architecture_s_backbone_can_be_changed():
    """Also by a name; names without a backbone list their siblings."""
    assert make("test_resnet", "iterative_bbox_resnet50_fpn").config.name == "iterative_bbox_fpn"
    with torch.device("meta"):
        assert create_model("cascade_rcnn_fpn", 2, backbone="resnet34").config.name == "cascade_rcnn_resnet34_fpn"
    assert sibling("cascade_rcnn_fpn", "faster_rcnn") == "faster_rcnn_fpn"


EXPORTS = [("test_convnext", "torch-export", False)]  # for images of any size, these as well:
EXPORTS += [(network, form, True) for network in NETWORKS for form in ("onnx", "openvino")]


@pytest.mark.parametrize(("network", "format_", "dynamic"), [pytest.param(*x, marks=pytest.mark.slow) for x in EXPORTS])
def test_it_exports(network, format_, dynamic, tmp_path):
    pytest.importorskip("openvino")
    model = make(network, "faster_rcnn_fpn", score_threshold=0.02).eval()
    save(model, tmp_path / "model.safetensors")
    output = (tmp_path / "model").with_suffix(SUFFIX[format_])
    report = export(tmp_path / "model.safetensors", output, Request(format=format_, dynamic=dynamic))
    assert report.difference.expected > 10
    assert report.difference.missing == 0


def test_recipes_take_it_as_an_option():
    """cascade-rcnn train shapes --options.backbone timm/test_resnet"""
    recipe = with_changes(find_recipe("shapes"), {"options": {"backbone": "timm/test_resnet"}})
    model = build_model(recipe, [Category(name="star")])
    assert isinstance(model.backbone, Timm)
    assert (model.config.name, model.class_names) == ("cascade_rcnn_fpn", ["star"])


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("convnext_tin", "no network 'convnext_tin'; did you mean 'convnext_tiny'"),
        ("test_resnet.r160_in", "no network 'test_resnet.r160_in'; did you mean 'test_resnet.r160_in1k'"),
        ("test_vit.laion", r"no network 'test_vit.laion'; known: test_vit.r160_in1k"),
        ("test_vit", "timm/test_vit: its maps have strides 16; a pyramid needs 8, 16 and 32"),
        ("maxvit_tiny_tf_224", r"timm/maxvit_tiny_tf_224: cannot take an image of 96 x 160 pixels \(height"),
    ],
)
def test_networks_that_are_none_or_cannot_be_backbones(network, message):
    with pytest.raises(UserError, match=message) as caught:
        examine(TimmConfig(model=network))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "timm/vgg11", "drop_path": 0.1}, "drop_path=0.1: timm/vgg11 has no such option"),
        ({"backbone": "timm/test_resnet", "backbone_width": 8}, "backbone_width=8: timm/test_resnet has a fixed width"),
        ({"backbone": "resnet5"}, "there is no backbone 'resnet5'; did you mean 'resnet50'"),
        ({"backbone": "timm/test_resnet", "name": "cascade_rcnn_vgg16"}, "cascade_rcnn_vgg16 has a fixed backbone"),
        ({}, "cascade_rcnn_fpn needs a backbone: give backbone='resnet50', 'timm/NAME'"),
        ({"backbone": "timm/x", "weights": "starter", "name": None}, "starter already has a backbone"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(UserError, match=message) as caught:
        create_model(**({"name": "cascade_rcnn_fpn", "num_classes": 2} | options))
    assert "\n" not in str(caught.value)


def test_without_timm(monkeypatch, tmp_path):
    save(make("test_resnet"), tmp_path / "model.safetensors")
    monkeypatch.setitem(sys.modules, "timm", None)
    for call in (lambda: make("test_resnet"), lambda: load(tmp_path / "model.safetensors")):
        with pytest.raises(UserError, match=r"needs timm; pip install 'cascade-rcnn\[timm\]'") as caught:
            call()
        assert "\n" not in str(caught.value)


def trained(path: Path, network: str = "test_convnext", **options) -> Path:
    torch.manual_seed(5)
    save_file(timm.create_model(network, **options).state_dict(), path)
    return path


@pytest.mark.parametrize("classes", [1000, 7, 0])
def test_a_file_of_weights_as_timm_saves_them(tmp_path, classes):
    """With a classifier of any number of classes, or none."""
    path = trained(tmp_path / "weights.safetensors", num_classes=classes)
    model = make("test_convnext", weights_backbone=path)
    torch.manual_seed(5)
    expected = timm.create_model("test_convnext", num_classes=classes)
    with torch.no_grad():
        pixels = torch.randn(1, 3, 64, 64)
        maps = expected.eval().forward_intermediates(pixels, intermediates_only=True)
        torch.testing.assert_close(model.backbone.eval()(pixels), maps)
    assert model.config.backbone.frozen_stages == 0


def test_pretrained_networks_keep_their_statistics_and_others_learn_them(tmp_path):
    path = trained(tmp_path / "weights.safetensors", "test_resnet")
    model = make("test_resnet", weights_backbone=path)
    assert model.config.backbone.norm == "frozen"
    assert make("test_resnet").config.backbone.norm == "batch"


def test_files_of_something_else(tmp_path):
    other = trained(tmp_path / "resnet.safetensors", "test_resnet")
    with pytest.raises(UserError, match=r"these are not weights of timm/test_convnext: .*is missing") as caught:
        make("test_convnext", weights_backbone=other)
    assert str(caught.value).startswith(f"{other}: ")
    wide = trained(tmp_path / "convnext.safetensors", "convnext_atto")
    with pytest.raises(UserError, match="not weights of timm/test_convnext: ") as caught:
        make("test_convnext", weights_backbone=wide)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such checkpoint"):
        make("test_convnext", weights_backbone=tmp_path / "none.safetensors")


def test_weights_by_name_without_network(monkeypatch):
    """One line names the file to download; a tag for which timm has no weights gets a line of its own."""

    def fail(*args, **kwargs):
        raise OSError("no way to the Hub\nat all")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    with pytest.raises(UserError, match=r"https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/") as caught:
        make("test_resnet", weights_backbone="imagenet")
    assert "no way to the Hub" in str(caught.value)
    assert "weights_backbone=PATH" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="timm has no weights for timm/convnext_atto_rms; give a file"):
        make("convnext_atto_rms", weights_backbone="imagenet")


def test_weights_by_name_are_loaded_by_timm_itself(monkeypatch):
    torch.manual_seed(5)
    given = timm.create_model("test_convnext").state_dict()
    asked = []

    def fetch(name, *args, **kwargs):
        asked.append(name)
        return dict(given)

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fetch)
    model = make("test_convnext.r160_in1k", weights_backbone="imagenet")
    assert asked == ["timm/test_convnext.r160_in1k"]
    torch.testing.assert_close(model.backbone.network.stem_0.weight, given["stem.0.weight"])
