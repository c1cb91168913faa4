"""The config that goes with a checkpoint for detectron2 describes the network completely, and says what is lost."""

import pytest
import torch
from msgspec.structs import replace

from cascade_rcnn import create_model
from cascade_rcnn.config import AnchorConfig, IoULossConfig
from cascade_rcnn.interop import config_for, detectron2, to_detectron2
from cascade_rcnn.interop.detectron2_config import STOCK, read_config
from cascade_rcnn.interop.detectron2_settings import lost, settings_of
from cascade_rcnn.models.build import build
from cascade_rcnn.models.detector import Detector

SMALL = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8}


def made(name: str, **options) -> Detector:
    with torch.device("meta"):
        return create_model(name, 3, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cascade_rcnn_resnet18_fpn", {**SMALL, "min_size": (200, 240), "max_size": 400, "score_threshold": 0.2}),
        ("faster_rcnn_resnet50_fpn", {**SMALL, "class_agnostic": False, "box_loss": "giou", "anchor_ratios": (1, 3)}),
        ("cascade_mask_rcnn_resnet50_fpn", {**SMALL, "norm": "batch", "nms_iou": 0.6}),
        ("cascade_rcnn_resnext101_32x8d_fpn", {}),
        ("cascade_rcnn_resnet50_dcnv2_fpn", {}),
        ("cascade_rcnn_resnet50_fpn", {"backbone_norm": "group", "norm": "group"}),
    ],
)
def test_what_is_written_converts_back(name, options, tmp_path):
    model = made(name, **options)
    state = to_detectron2(model)
    text, notes = config_for(model.config, state)
    assert text is not None
    (tmp_path / "config.yaml").write_text(text)
    back, _ = detectron2.convert(state, read_config(tmp_path / "config.yaml")[0])
    assert lost(model.config, back) == ["preprocess.antialias"]
    assert notes == ["detectron2 has no such settings, and therefore differs in preprocess.antialias"]


def test_an_nms_that_detectron2_does_not_have_is_named():
    model = made("faster_rcnn_resnet18_fpn", **SMALL)
    _, notes = config_for(model.config.with_inference(agnostic_nms=True), to_detectron2(model))
    assert notes[0].endswith(", inference.agnostic_nms")


@pytest.mark.parametrize(
    ("name", "options", "changes", "part"),
    [
        ("faster_rcnn_resnet18_fpn", {}, {"box_loss": IoULossConfig(kind="bounded_iou")}, ", box_loss (bounded_iou)"),
        ("cascade_rcnn_resnet18_fpn", {"class_agnostic": False}, {}, ", box_head.class_agnostic (it builds only"),
    ],
)
def test_what_detectron2_would_refuse_is_named(name, options, changes, part):
    model = made(name, **SMALL, **options)
    _, (note,) = config_for(replace(model.config, **changes), to_detectron2(model))
    assert part in note


def test_several_anchor_sizes_per_level():
    model = made("faster_rcnn_resnet18_fpn", **SMALL)
    anchors = AnchorConfig(sizes=((32, 48), (64, 96), (128, 192), (256, 384), (512, 768)), ratios=(1.0,))
    config = replace(model.config, rpn=replace(model.config.rpn, anchors=anchors))
    text, notes = config_for(config, to_detectron2(build(config)))
    assert text is not None
    assert "SIZES:\n    - [32, 48]\n" in text
    assert notes == ["detectron2 has no such settings, and therefore differs in preprocess.antialias"]


def test_other_semantics_are_named():
    model = made("cascade_rcnn_resnet50_fpn", semantics="mmdet", **SMALL)
    _, (note,) = config_for(model.config, to_detectron2(model))
    for name in ("semantics.ensemble", "stages.loss_weight", "rpn.low_quality_iou"):
        assert name in note
    assert "stages.std" not in note


def test_settings_of_a_resnext():
    settings = settings_of(made("cascade_rcnn_resnext101_32x8d_fpn").config)
    assert settings is not None
    resnet = {name.rpartition(".")[2]: value for name, value in settings.items() if "RESNETS" in name}
    shape = {"DEPTH": 101, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 8, "RES2_OUT_CHANNELS": 256}
    assert resnet | shape == resnet
    assert settings["INPUT.FORMAT"] == "RGB"
    assert settings["MODEL.PIXEL_MEAN"] == [123.675, 116.28, 103.53]
    assert settings["MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS"][1] == pytest.approx([20, 20, 10, 10])


def test_numbers_have_the_types_that_detectron2_insists_on():
    settings = settings_of(made("faster_rcnn_resnet18_fpn", score_threshold=0, nms_iou=1, **SMALL).config)
    assert settings is not None
    assert settings["MODEL.ROI_HEADS.SCORE_THRESH_TEST"] == 0
    numbers = {name: type(STOCK[name]) for name in settings if isinstance(STOCK.get(name), int | float)}
    assert len(numbers) > 15
    assert {name: type(settings[name]) for name in numbers} == numbers


def test_a_network_of_lazy_configs_has_no_yaml():
    model = made("faster_rcnn_vit_b")
    text, (note,) = config_for(model.config, to_detectron2(model))
    assert text is None
    assert "only in a LazyConfig" in note
    assert "roi_align.sampling" in note


def test_so_has_one_of_lvis_whose_scores_its_tensors_do_not_tell():
    with torch.device("meta"):
        model = create_model("faster_rcnn_vit_b", 1203, classification="sigmoid")
    text, (note,) = config_for(model.config, to_detectron2(model))
    assert text is None
    assert "classification" in note
