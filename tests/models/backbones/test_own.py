"""A user's own module as the backbone: its requirements, and how its detectors are saved and loaded."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from cascade_rcnn import Predictor, create_model, load, save
from cascade_rcnn.config import ModelConfig, OwnBackboneConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.layers.convolution import Conv2d

TINY = {"pyramid_channels": 16, "rpn_channels": 16, "head_width": 32, "proposals": 50, "rois": 16, "min_size": 64}


class Plain(nn.Module):
    """A backbone with maps of stride 8 and 16, of 4 and 6 channels."""

    channels, strides = (4, 6), (8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(3)  # which normalises the pixels, not the map
        self.conv2 = nn.Conv2d(4, 6, 2, 2)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        first = self.conv1(self.bn1(pixels))
        return [first, self.conv2(first)]


class Layered(Plain):
    def layers(self) -> Sequence[nn.Module]:
        return [nn.ModuleList([self.conv1, self.bn1]), self.conv2]


def make(backbone, **options):
    torch.manual_seed(0)
    return create_model("cascade_rcnn_fpn", 2, backbone=backbone, **(TINY | options))


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, *size, generator=generator) for size in ((64, 80), (50, 64))]


def test_it_is_the_detector_s_backbone_and_learns():
    backbone = Plain()
    backbone.bn1.eval()
    before = backbone.conv1.weight.clone()
    model = make(backbone)
    assert model.backbone is backbone
    torch.testing.assert_close(backbone.conv1.weight, before)
    assert model.config.backbone == OwnBackboneConfig(channels=(4, 6), strides=(8, 16))
    assert model.config.name == "cascade_rcnn_fpn"
    assert model.pyramid.strides == (8, 16, 32, 64, 128)
    assert backbone.training
    assert not backbone.bn1.training
    boxes = torch.tensor([[5.0, 6, 40, 50]])
    sum(model(images(), [{"boxes": boxes, "labels": torch.tensor([2])}] * 2).values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_its_strided_pointwise_convolutions_of_few_channels_do_not_crash_the_process():
    backbone = Plain()
    backbone.conv1 = nn.Conv2d(3, 4, 1, stride=8)
    weights = backbone.conv1.weight.clone()
    model = make(backbone).train()
    assert type(backbone.conv1) is Conv2d
    assert backbone.conv1.weight.equal(weights)
    targets = [{"boxes": torch.tensor([[4.0, 4, 40, 40]]), "labels": torch.tensor([1])} for _ in images()]
    sum(model(images(), targets).values()).backward()
    assert backbone.conv1.weight.grad.isfinite().all()


def test_its_weights_are_in_the_checkpoint_and_go_into_the_module_given(tmp_path):
    path = tmp_path / "model.safetensors"
    model = make(Plain()).eval()
    save(model, path)
    backbone = Plain()
    loaded = load(path, backbone=backbone, score_threshold=0.0)
    assert loaded.backbone is backbone
    assert ModelConfig.from_json(model.config.to_json()) == model.config
    torch.testing.assert_close(backbone.state_dict(), model.backbone.state_dict())
    model.roi_heads.inference = loaded.roi_heads.inference
    with torch.no_grad():
        for one, other in zip(model(images()), loaded(images()), strict=True):
            assert len(one["boxes"]) > 0
            assert all(torch.equal(one[key], other[key]) for key in one)


def test_it_is_fine_tuned_with_its_weights(tmp_path):
    model = make(Plain())
    save(model, tmp_path / "model.safetensors")
    tuned = create_model(weights=tmp_path / "model.safetensors", backbone=Plain(), categories=["bolt"])
    torch.testing.assert_close(tuned.backbone.state_dict(), model.backbone.state_dict())
    assert tuned.class_names == ["bolt"]


def test_convolutions_and_norms_that_only_look_like_neighbours_are_not_folded():
    model = make(Plain()).eval()
    model.backbone.bn1.running_mean.fill_(0.3)
    model.backbone.bn1.running_var.fill_(2.0)
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.backbone(pixels)
        torch.testing.assert_close(model.for_inference().backbone(pixels), expected)


def test_layers_can_be_frozen_where_it_names_them(tmp_path):
    backbone = make(Layered(), trainable_layers=1).backbone
    assert [p.requires_grad for p in backbone.conv1.parameters()] == [False] * 2
    assert [p.requires_grad for p in backbone.conv2.parameters()] == [True] * 2
    with pytest.raises(UserError, match="the backbone has 2 layers; give 0 to 2"):
        make(Layered(), trainable_layers=3)
    with pytest.raises(UserError, match="freezing needs a method layers"):
        make(Plain(), trainable_layers=1)
    incomplete = Layered()
    incomplete.layers = lambda: Layered.layers(incomplete)[:1]
    with pytest.raises(UserError, match=r"your backbone: its layers\(\) lack \w+\.weight; return modules that contain"):
        make(incomplete, trainable_layers=0)


def changed(**attributes) -> Plain:
    backbone = Plain()
    for name, value in attributes.items():
        setattr(backbone, name, value)
    return backbone


class Fixed(Plain):
    def forward(self, pixels: Tensor) -> list[Tensor]:
        assert pixels.shape[-2:] == (224, 224), "images of 224 x 224"
        return super().forward(pixels)


class Single(Plain):
    def forward(self, pixels: Tensor) -> Tensor:  # type: ignore[override]
        return self.conv1(pixels)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (lambda x: [x], "give a name, or a torch.nn.Module with channels and strides"),
        (changed(channels=None), "channels is None; give a tuple of positive integers, one for each of its maps"),
        (changed(strides=(8, 16.5)), r"strides is \(8, 16.5\)"),
        (changed(strides=(16, 8)), r"strides=\(16, 8\); give one of each per map, finest first"),
        (changed(channels=(4, 6, 8)), "give one of each per map"),
        (changed(channels=(4, 8)), r"\(1, 6, 3, 5\)\], but channels and strides declare .* \(1, 8, 3, 5\)\]"),
        (Fixed(), r"cannot take an image of 48 x 80 pixels \(images of 224 x 224\)"),
        (Single(), "returns Tensor; return the maps as a list of tensors"),
    ],
)
def test_modules_that_are_not_backbones(backbone, message):
    with pytest.raises(UserError, match=message) as caught:
        make(backbone)
    assert "\n" not in str(caught.value)


def test_mistakes(tmp_path):
    path = tmp_path / "model.safetensors"
    save(make(Plain()), path)
    calls = {
        r"user-defined module; pass it: load\(path, backbone=module\)": lambda: load(path),
        "user-defined module": lambda: Predictor(path)(images()[0].permute(1, 2, 0).numpy()),
        "its backbone is a resnet18; leave out backbone=": lambda: load("starter", backbone=Plain()),
        r"channels and strides are \(4, 6\) and \(4, 8\)": lambda: load(path, backbone=Finer()),
        "load its weights before you pass it": lambda: make(Plain(), weights_backbone="imagenet"),
        "cascade_rcnn_vgg16 has a fixed backbone": lambda: create_model("cascade_rcnn_vgg16", 2, backbone=Plain()),
    }
    for message, call in calls.items():
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


class Finer(Plain):
    strides = (4, 8)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 8, 4, padding=2)
