"""One test for every architecture, and for the options that change what a model computes."""

from pathlib import Path

import pytest
import torch

from cascade_rcnn import create_model, list_models
from cascade_rcnn.config import Category, ModelConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.export.export import Request, export
from cascade_rcnn.models import checkpoint
from cascade_rcnn.models.detector import Detector

TINY = {"backbone_width": 16, "pyramid_channels": 16, "rpn_channels": 16, "head_width": 32}
TINY |= {"proposals": 50, "rois": 16, "min_size": 64, "max_size": 128}
CASCADE = "cascade_rcnn_resnet18_fpn"
OTHERS = {  # options that have another meaning for other methods and families
    "iterative_bbox_resnet18_fpn": [{"iterations": 1}, {"iterations": 5, "test_stage": 4}, {"stage_ious": (0.6,)}],
    "integral_loss_rfcn_resnet18": [
        {"stage_ious": (0.5, 0.75)},
        {"class_agnostic": False},
        *({"test_stage": t, "ensemble": e} for t in (1, 3) for e in (True, False)),
    ],
    "cascade_rfcn_resnet18": [{"semantics": s, "class_agnostic": a} for s in ("paper", "mmdet") for a in (True, False)],
    "cascade_rcnn_vgg16": [{"semantics": "paper"}, {"stages": 2, "anchor_sizes": (16, 32)}],
}
VARIANTS = (
    [{"semantics": s, "class_agnostic": a} for s in ("paper", "detectron2", "mmdet") for a in (True, False)]
    + [{"stages": t} for t in (1, 2, 3, 4)]
    + [{"semantics": s, "stages": 4, "class_agnostic": False} for s in ("paper", "mmdet")]
    + [{"test_stage": t, "ensemble": e} for t in (1, 2, 3) for e in (True, False)]
    + [{"semantics": s, "ensemble": False} for s in ("paper", "mmdet")]
    + [
        {"stage_ious": (0.5, 0.55)},
        {"stages": 2, "stage_means": ((0.0, 0.1, 0.0, 0.0),) * 2},
        {"anchor_sizes": (16, 32, 64)},
        {"anchor_ratios": (1.0,)},
        {"min_size": (48, 64)},
    ]
)


def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, *size, generator=generator) for size in ((64, 80), (50, 64))]


def targets() -> list[dict[str, torch.Tensor]]:
    boxes = torch.tensor([[5.0, 6, 40, 50], [30, 8, 70, 60]])
    masks = torch.zeros(2, 64, 80, dtype=torch.uint8)  # ignored by models without masks
    masks[0, 6:50, 5:30], masks[1, 20:60, 30:70] = 1, 1
    nothing = {"boxes": boxes[:0], "labels": torch.zeros(0, dtype=torch.int64), "masks": masks[:0, :50, :64]}
    return [{"boxes": boxes, "labels": torch.tensor([1, 3]), "masks": masks}, nothing]


def check(model: Detector, folder: Path) -> None:
    """Check losses, gradients, an image without objects, a checkpoint with the same detections, and `predict`."""
    losses = model.train()(images(), targets())
    assert all(x.ndim == 0 and bool(x.isfinite()) for x in losses.values())
    trained = len(model.config.stages) if model.config.method == "cascade" else 1
    numbers = {str(t + 1) for t in range(trained)} if trained > 1 else set()
    assert {name[-1] for name in losses if "_stage" in name} == numbers
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
    assert len(loaded.predict(images()[0], threshold=0.0, min_size=64)) == len(loaded(images()[:1])[0]["boxes"])


EVERY_KIND = [f"{method}_resnet18_fpn" for method in ("faster_rcnn", "cascade_rcnn", "iterative_bbox", "integral_loss")]
EVERY_KIND += ["cascade_rcnn_vgg16", "cascade_rfcn_resnet18", "integral_loss_rfcn_resnet18"]
LARGE = {
    name
    for size in ("*swin*", "*convnext*", "*mvit*", "*res2net*", "*vit_[lh]", "*resnet101*", "*resnet152*", "*mask*")
    for name in list_models(size)
}
SMALL = {"cascade_rcnn_swin_t_fpn", "faster_rcnn_convnext_tiny_fpn", "rfcn_resnet18", "iterative_bbox_rfcn_resnet18"}
SMALL |= {"cascade_mask_rcnn_resnet18_fpn"}
USUAL = sorted({*list_models("cascade_*"), *EVERY_KIND} - LARGE | SMALL)  # every method and every kind of backbone


@pytest.mark.parametrize("name", USUAL)
def test_every_architecture(name, tmp_path):
    torch.manual_seed(0)
    check(create_model(name, 3, **TINY), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*list_models()} - {*USUAL}))
def test_every_other_architecture(name, tmp_path):
    torch.manual_seed(0)
    check(create_model(name, 3, **TINY), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_architecture_exports(name, tmp_path):
    """The export, in a single file, detects what the detector detects."""
    torch.manual_seed(0)
    checkpoint.save(create_model(name, 3, **TINY), tmp_path / "model.safetensors")
    report = export(tmp_path / "model.safetensors", tmp_path / "model.pt2", Request(format="torch-export"))
    assert report.difference.expected > 10
    assert report.difference.missing == 0


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items()))
def test_every_option(options, tmp_path):
    torch.manual_seed(0)
    check(create_model(CASCADE, 3, **(TINY | options)), tmp_path)


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, all_of in OTHERS.items() for options in all_of]
)
def test_options_of_other_methods_and_families(name, options, tmp_path):
    torch.manual_seed(0)
    check(create_model(name, 3, **(TINY | options)), tmp_path)


@pytest.mark.parametrize("semantics", ["paper", "detectron2", "mmdet"])
@pytest.mark.parametrize("name", EVERY_KIND)
def test_a_batch_without_objects_reaches_every_parameter(name, semantics):
    """Otherwise, processes of a distributed training run would wait for one another."""
    torch.manual_seed(0)
    model = create_model(name, 3, semantics=semantics, **TINY)
    losses = model(images(), [targets()[1]] * 2)
    torch.stack(list(losses.values())).sum().backward()
    assert all(bool(x.isfinite()) for x in losses.values())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_one_class_and_one_anchor(tmp_path):
    torch.manual_seed(0)
    model = create_model(CASCADE, 1, class_agnostic=False, **(TINY | {"proposals": 1, "rois": 1}))
    losses = model(images(), [{"boxes": t["boxes"], "labels": t["labels"].clamp(max=1)} for t in targets()])
    assert all(bool(x.isfinite()) for x in losses.values())
    with torch.no_grad():
        assert len(model.eval()(images())) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: create_model("cascade_rcnn_resnet51_fpn", 3), "did you mean 'cascade_rcnn_resnet50_fpn'"),
        (lambda: create_model(CASCADE), "num_classes is None; give a whole number, 1 or more"),
        (lambda: create_model(CASCADE, 0), "num_classes is 0; give 1 or more"),
        (lambda: create_model(CASCADE, 2, categories=["a"]), "1 categories are given"),
        (lambda: create_model(CASCADE, categories=[Category(id=0), Category(id=0)]), "2 classes with the id 0; give"),
        (lambda: create_model(CASCADE, 2, stage=3), "no option 'stage'; did you mean 'stages'"),
        (lambda: create_model(CASCADE, 2, semantics="caffe"), "semantics is 'caffe'"),
        (lambda: create_model(CASCADE, 2, iterations=2), "only iterative_bbox models iterate"),
        (lambda: create_model("iterative_bbox_vgg16", 2, stages=2), "stages=2: iterative_bbox models .*iterations"),
        (lambda: create_model("iterative_bbox_vgg16", 2, iterations=0), "iterations is 0; give 1 or more"),
        (lambda: create_model("iterative_bbox_vgg16", 2, stage_ious=(0.5, 0.6)), "have 2 entries"),
        (lambda: create_model("integral_loss_vgg16", 2, stages=2, **TINY), "stages=2: .*stage_ious"),
        (lambda: create_model("integral_loss_vgg16", 2, stage_ious=(0.6, 0.5), **TINY), "in ascending order"),
        (lambda: create_model("integral_loss_vgg16", 2, test_stage=4), "test_stage=4"),
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
