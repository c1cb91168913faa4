"""One test over every architecture, and over the options that change what a model computes."""

from pathlib import Path

import pytest
import torch

from cascade_rcnn import create_model, list_models
from cascade_rcnn.config import ModelConfig
from cascade_rcnn.engine import checkpoint
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.detector import Detector

TINY = {"pyramid_channels": 16, "head_width": 32, "proposals": 50, "rois": 16, "min_size": 64, "max_size": 128}
CASCADE = "cascade_rcnn_resnet18_fpn"
VARIANTS = (
    [{"semantics": s, "class_agnostic": a} for s in ("paper", "detectron2", "mmdet") for a in (True, False)]
    + [{"stages": t} for t in (1, 2, 3, 4)]
    + [{"semantics": s, "stages": 4, "class_agnostic": False} for s in ("paper", "mmdet")]
    + [{"test_stage": t, "ensemble": e} for t in (1, 2, 3) for e in (True, False)]
    + [{"semantics": s, "ensemble": False} for s in ("paper", "mmdet")]
    + [{"stage_ious": (0.5, 0.55)}, {"anchor_sizes": (16, 32, 64)}, {"anchor_ratios": (1.0,)}, {"min_size": (48, 64)}]
)


def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, *size, generator=generator) for size in ((64, 80), (50, 64))]


def targets() -> list[dict[str, torch.Tensor]]:
    boxes = torch.tensor([[5.0, 6, 40, 50], [30, 8, 70, 60]])
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    return [{"boxes": boxes, "labels": torch.tensor([1, 3])}, nothing]


def check(model: Detector, folder: Path) -> None:
    """Forward, backward, an image without objects, detection, and a checkpoint that gives the same detections."""
    losses = model.train()(images(), targets())
    assert all(x.ndim == 0 and bool(x.isfinite()) for x in losses.values())
    assert {name[-1] for name in losses if "_stage" in name} == (
        set() if len(model.config.stages) == 1 else {str(t + 1) for t in range(len(model.config.stages))}
    )
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name
    checkpoint.save(model, folder / "model.safetensors")
    loaded = checkpoint.load(folder / "model.safetensors", score_threshold=0.0)
    assert loaded.config == model.config.with_inference(score_threshold=0.0)
    assert not loaded.training
    model.roi_heads.inference = loaded.roi_heads.inference
    with torch.no_grad():
        for one, other in zip(model.eval()(images()), loaded(images()), strict=True):
            assert len(one["boxes"]) > 0
            assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", list_models())
def test_every_architecture(name, tmp_path):
    torch.manual_seed(0)
    check(create_model(name, 3, **TINY), tmp_path)


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items()))
def test_every_option(options, tmp_path):
    torch.manual_seed(0)
    check(create_model(CASCADE, 3, **(TINY | options)), tmp_path)


def test_one_class_and_one_anchor(tmp_path):
    torch.manual_seed(0)
    model = create_model(CASCADE, 1, class_agnostic=False, **(TINY | {"proposals": 1, "rois": 1}))
    losses = model(images(), [{"boxes": t["boxes"], "labels": t["labels"].clamp(max=1)} for t in targets()])
    assert all(bool(x.isfinite()) for x in losses.values())
    with torch.no_grad():
        assert len(model.eval()(images())) == 2


def test_names():
    assert len(list_models()) == 12
    assert list_models() == sorted(list_models())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: create_model("cascade_rcnn_resnet51_fpn", 3), "did you mean 'cascade_rcnn_resnet50_fpn'"),
        (lambda: create_model(CASCADE), "num_classes=None"),
        (lambda: create_model(CASCADE, 0), "num_classes=0"),
        (lambda: create_model(CASCADE, 2, categories=["a"]), "1 categories are given"),
        (lambda: create_model(CASCADE, 2, stage=3), "no option 'stage'; did you mean 'stages'"),
        (lambda: create_model(CASCADE, 2, semantics="caffe"), "semantics='caffe'"),
    ],
)
def test_calls_that_do_not_fit_are_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_categories_are_kept():
    model = create_model(CASCADE, categories=["cat", "dog"], **TINY)
    assert [(c.id, c.name) for c in model.config.categories] == [(1, "cat"), (2, "dog")]
    assert create_model(CASCADE, 2, categories=model.config.categories, **TINY).config == model.config
    assert ModelConfig.from_json(model.config.to_json()) == model.config
