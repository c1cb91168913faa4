"""One test for every backbone: it trains, also in half precision, folds, is saved, and can train with less memory."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cascade_rcnn.config import (
    BackboneConfig,
    ContextConfig,
    ConvNeXtConfig,
    DeformableConfig,
    ModelConfig,
    MViTConfig,
    NormConfig,
    RegNetConfig,
    Res2NetConfig,
    ResNetConfig,
    SwinConfig,
    TimmConfig,
    VGGConfig,
    ViTConfig,
    replace,
)
from cascade_rcnn.layers.normalization import FixedBatchNorm
from cascade_rcnn.models import checkpoint
from cascade_rcnn.models.build import build, build_backbone
from cascade_rcnn.models.create import create_model
from cascade_rcnn.models.detector import Detector

RESNET: dict[str, Any] = {"depth": 50, "stem": 8, "planes": 8}
BACKBONES: dict[str, BackboneConfig] = {
    "resnet18": ResNetConfig(depth=18, stem=8, planes=8),
    "resnet50_batch": ResNetConfig(**RESNET, norm=NormConfig(kind="batch")),
    "resnet50_group": ResNetConfig(**RESNET, norm=NormConfig(kind="group", groups=4)),
    "resnet50_caffe": ResNetConfig(**RESNET, stride_in_1x1=True, frozen_stages=1, norm=NormConfig(kind="affine")),
    "resnext50": ResNetConfig(**RESNET, groups=4, width_per_group=16),
    "resnet50_dcn": ResNetConfig(**RESNET, deformable=DeformableConfig(groups=2)),
    "resnet50_dcnv2": ResNetConfig(**RESNET, deformable=DeformableConfig(modulated=True)),
    "resnet50_gc": ResNetConfig(**RESNET, context=ContextConfig()),
    "resnet50_drop_path": ResNetConfig(**RESNET, drop_path=0.3, norm=NormConfig(kind="batch")),
    "regnet": RegNetConfig(stem=8, widths=(8, 16, 24, 32), depths=(1, 1, 2, 1), group_width=8, drop_path=0.3),
    "res2net": Res2NetConfig(depth=50, stem=8, planes=8, drop_path=0.3),
    "vgg16": VGGConfig(planes=4),
    "swin": SwinConfig(width=8, depths=(1, 2, 1, 1), heads=1, drop_path=0.1),
    "convnext": ConvNeXtConfig(width=8, depths=(1, 1, 2, 1), drop_path=0.1),
    "vit": ViTConfig(width=16, depth=3, heads=2, window=3, global_blocks=(1,), grid=4, pretrained_grid=2),
    "mvit": MViTConfig(width=8, depths=(1, 2, 2, 1), window=8, grid=16, drop_path=0.1),
    "timm": TimmConfig(model="test_resnet", norm="frozen"),
}
USUAL = {
    "resnet50_gc",
    "resnet50_drop_path",
    "regnet",
    "res2net",
    "vit",
    "mvit",
    "timm",
}  # test_models.py has one of each family


def cases(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=() if name in USUAL else pytest.mark.slow) for name in names]


CHECKPOINTED = [name for name, config in BACKBONES.items() if hasattr(config, "checkpointing") and name != "timm"]
TINY: dict[str, Any] = {"pyramid_channels": 16, "rpn_channels": 16, "head_width": 16}
TINY |= {"proposals": 20, "rois": 8, "score_threshold": 0.0}
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TARGETS = [
    {"boxes": torch.tensor([[5.0, 6, 40, 50]]), "labels": torch.tensor([1])},
    {"boxes": torch.tensor([[3.0, 8, 30, 60]]), "labels": torch.tensor([2])},
]


def config_of(name: str) -> ModelConfig:
    """Return the config of a detector with this backbone, one stage and narrow parts, for images of 64 pixels."""
    named = {"vit": "faster_rcnn_vit_b", "vgg16": "faster_rcnn_vgg16"}.get(name, "faster_rcnn_resnet18_fpn")
    with torch.device("meta"):
        plain = create_model(named, 2, min_size=64, max_size=64, **TINY).config
    return replace(plain, backbone=BACKBONES[name])


def build_seeded(config: ModelConfig) -> Detector:
    torch.manual_seed(0)
    return build(config)


@pytest.fixture(params=cases(BACKBONES))
def config(request: pytest.FixtureRequest) -> ModelConfig:
    if request.param == "timm":
        pytest.importorskip("timm")
    return config_of(request.param)


def test_it_trains_in_float32_and_in_bf16_and_is_saved(config, tmp_path):
    """A step moves the trainable weights and nothing else; then the checkpoint finds what the model finds."""
    model = build_seeded(config).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = torch.stack(list(model(list(IMAGES), TARGETS).values())).sum()
    half.backward()
    assert_gradients(model)
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3).step()
    model.zero_grad()
    loss = torch.stack(list(model(list(IMAGES), TARGETS).values())).sum()
    loss.backward()
    assert_gradients(model)
    assert abs(half.item() - loss.item()) < 0.5 * loss.item()

    checkpoint.save(model, tmp_path / "model.safetensors")
    drawn = torch.get_rng_state()
    loaded, expected = checkpoint.load(tmp_path / "model.safetensors"), model.eval().state_dict()
    if not isinstance(model.config.backbone, TimmConfig):  # whose modules initialise themselves
        assert torch.equal(torch.get_rng_state(), drawn)
    assert loaded.config == model.config
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def assert_gradients(model: Detector) -> None:
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name


@torch.no_grad()
def test_optimised_for_inference_it_finds_the_same(config):
    model = build_seeded(config).eval()
    before = model(list(IMAGES))
    norms = count(model.backbone, lambda m: isinstance(m, FixedBatchNorm | nn.BatchNorm2d))
    optimised = model.for_inference()
    assert count(optimised.backbone, lambda m: isinstance(m, FixedBatchNorm | nn.BatchNorm2d)) == (
        0 if config.backbone.folds else norms
    )
    for one, other in zip(before, optimised(list(IMAGES)), strict=True):
        assert len(one["boxes"]) > 0
        torch.testing.assert_close(one["boxes"], other["boxes"], rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(one["scores"], other["scores"], rtol=1e-3, atol=1e-4)
        assert torch.equal(one["labels"], other["labels"])


def count(model: nn.Module, those: Callable[[nn.Module], bool]) -> int:
    return sum(map(those, model.modules()))


@pytest.mark.parametrize("name", cases(CHECKPOINTED))
def test_blocks_computed_again_give_the_same_gradients_and_statistics(name):
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        backbone = build_backbone(replace(BACKBONES[name], frozen_stages=0, checkpointing=again)).train()
        torch.manual_seed(1)  # for stochastic depth
        torch.stack([x.square().mean() for x in backbone(IMAGES - 0.5)]).sum().backward()
        gradients: dict[str, Tensor | None] = {k: p.grad for k, p in backbone.named_parameters()}
        found.append((gradients, {k: v.clone() for k, v in backbone.named_buffers()}))
    torch.testing.assert_close(found[0], found[1])
