"""Model configs as data: presets, the round trip through JSON, and what may be changed after training."""

import json
import math

import pytest

from cascade_rcnn.config import INFERENCE, Category, ModelConfig, ModelOptions, SmoothL1Config, StageConfig
from cascade_rcnn.config.presets import PRESETS, preset_stages
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.architectures import list_models
from cascade_rcnn.models.configure import model_config

CATEGORIES = (Category(id=3, name="crack"), Category(id=90, name="Öse"))


def config_of(name: str = "cascade_rcnn_resnet50_fpn", **options) -> ModelConfig:
    return model_config(name, CATEGORIES, ModelOptions(**options), pretrained=True)


@pytest.mark.parametrize("semantics", PRESETS)
def test_json_there_and_back(semantics):
    for name in list_models():
        config = config_of(name, semantics=semantics, min_size=(640, 800), test_stage=1)
        assert ModelConfig.from_json(config.to_json()) == config, name
        assert ModelConfig.from_json(config.to_json().encode()) == config, name
        assert hash(ModelConfig.from_json(config.to_json())) == hash(config), name


def test_a_config_cannot_be_changed_in_place():
    config = config_of()
    with pytest.raises(AttributeError, match="immutable"):
        config.name = "other"  # type: ignore[misc]


def test_the_presets_by_the_published_tables():
    """The paper's thresholds; target scales of the released code, and detectron2's weights (10, 20, 30)."""
    for name in PRESETS:
        assert [stage.iou for stage in preset_stages(name, 4)] == [0.5, 0.6, 0.7, 0.75]
        assert preset_stages(name, 2) == preset_stages(name, 4)[:2]
    assert [s.std for s in preset_stages("paper", 3)] == [
        (0.1, 0.1, 0.2, 0.2),
        (0.05, 0.05, 0.1, 0.1),
        (0.033, 0.033, 0.067, 0.067),
    ]
    assert [1 / s.std[0] for s in preset_stages("detectron2", 3)] == pytest.approx([10, 20, 30])
    assert [1 / s.std[2] for s in preset_stages("detectron2", 3)] == pytest.approx([5, 10, 15])
    assert [s.loss_weight for s in preset_stages("paper", 3)] == [1, 0.5, 0.25]
    assert [s.loss_weight for s in preset_stages("mmdet", 3)] == [1, 0.5, 0.25]
    assert [s.loss_weight for s in preset_stages("detectron2", 3)] == [1, 1, 1]
    assert [s.lr_multiplier for s in preset_stages("paper", 3)] == [1, 2, 4]


NUMBERS = ("pre_nms_train", "post_nms_train", "pre_nms_test", "post_nms_test")


@pytest.mark.parametrize(
    ("name", "semantics", "numbers"),
    [
        # detectron2: Base-RCNN-FPN.yaml, Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml; mmdet: _base_/models/*rcnn_r50_fpn.py
        ("faster_rcnn_resnet50_fpn", "detectron2", (2000, 1000, 1000, 1000)),
        ("cascade_rcnn_resnet50_fpn", "detectron2", (2000, 2000, 1000, 1000)),
        ("faster_rcnn_resnet50_fpn", "mmdet", (2000, 1000, 1000, 1000)),
        ("cascade_rcnn_resnet50_fpn", "mmdet", (2000, 2000, 1000, 1000)),
        # single heads equal the plain baseline's
        ("iterative_bbox_resnet50_fpn", "detectron2", (2000, 1000, 1000, 1000)),
        ("integral_loss_resnet50_fpn", "mmdet", (2000, 1000, 1000, 1000)),
        # the released code: 1,500 per level, and in training all that survive NMS
        ("faster_rcnn_resnet50_fpn", "paper", (1500, 6000, 1000, 1000)),
        ("cascade_rcnn_resnet50_fpn", "paper", (1500, 6000, 1000, 1000)),
        ("cascade_rcnn_vgg16", "paper", (2000, 2000, 5000, 300)),
        ("cascade_rfcn_resnet50", "mmdet", (4000, 4000, 3000, 300)),
    ],
)
def test_proposals_of_the_presets(name, semantics, numbers):
    rpn = config_of(name, semantics=semantics).rpn
    assert tuple(getattr(rpn, field) for field in NUMBERS) == numbers


def test_a_cascade_of_one_stage_is_the_plain_baseline():
    assert config_of(stages=1).rpn == config_of("faster_rcnn_resnet50_fpn").rpn


@pytest.mark.parametrize("semantics", PRESETS)
def test_proposals_asked_for_win_over_the_preset(semantics):
    for name, numbers in (
        ("cascade_rcnn_resnet18_fpn", (600, 300, 300, 300)),
        ("rfcn_resnet18", (3000, 1200, 3000, 300)),
    ):
        rpn = config_of(name, semantics=semantics, proposals=300).rpn
        assert tuple(getattr(rpn, field) for field in NUMBERS) == numbers


def test_the_rpn_of_the_paper_s_preset_is_the_released_code_s():
    config = config_of(semantics="paper")
    semantics, rpn = config.semantics, config.rpn
    assert (rpn.box_loss, rpn.box_normalizer, rpn.by_level) == (SmoothL1Config(beta=1.0), "coordinates", True)
    assert (rpn.low_quality_iou, rpn.trained_anchors, semantics.min_object_size) == (0.2, "mostly-inside", 5.0)
    assert (rpn.samples, rpn.anchors.offset, rpn.min_size, semantics.bias_lr_multiplier) == (256, 0.5, 5.0, 2.0)
    for name in ("detectron2", "mmdet"):
        other = config_of(semantics=name)
        assert (other.rpn.by_level, other.semantics.min_object_size, other.rpn.anchors.offset) == (False, 0, 0)
        assert (other.rpn.min_size, other.semantics.bias_lr_multiplier) == (0, 1)


def test_options_reach_the_config():
    config = config_of(
        semantics="paper",
        stage_ious=(0.4, 0.5),
        stage_stds=((1.0, 1.0, 1.0, 1.0), (0.5, 0.5, 0.5, 0.5)),
        anchor_sizes=(8, 16, 32, 64, 128),
        proposals=70,
        trainable_layers=1,
        min_size=320,
        score_threshold=0.2,
    )
    assert [(s.iou, s.std[0]) for s in config.stages] == [(0.4, 1.0), (0.5, 0.5)]
    assert config.rpn.anchors.sizes == (8, 16, 32, (64, 128))  # in the paper, P5 has two sizes
    assert (config.rpn.pre_nms_train, config.rpn.post_nms_train, config.rpn.post_nms_test) == (140, 70, 70)
    assert config.backbone.frozen_stages == 4
    assert config.preprocess.min_size == (320,)
    assert config.inference.score_threshold == 0.2
    assert config_of(semantics="paper").inference.score_threshold == 0.001
    assert config_of().num_classes == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": 0}, "stages is 0; give 1 or more"),
        ({"stages": 2.5}, "stages is 2.5: Expected `int | None`"),
        ({"box_loss": "l1"}, "box_loss is 'l1'.*; give smooth_l1, giou, diou, ciou"),
        ({"rois": 0}, "rois is 0; give 1 to"),
        ({"iterations": 2}, "only iterative_bbox models iterate"),
        ({"stages": 5}, "1 to 4 stages"),
        ({"stages": 3, "stage_ious": (0.5, 0.6)}, "2 entries"),
        ({"stage_ious": (0.5, 0.6), "stage_stds": ((1.0,) * 4,)}, "entries; give one per stage"),
        ({"stage_ious": (0.5, 60)}, "stage_ious: 60 is not between 0 and 1"),
        (
            {"stages": 1, "stage_stds": ((0.1, 0.1, 0.2, 0.0),)},
            "stage_stds: .* has a standard deviation that is not a positive number",
        ),
        ({"test_stage": 4}, "test_stage=4: this model has stages 1 to 3"),
        ({"test_stage": 0}, "test_stage=0"),
        ({"trainable_layers": 6}, "give 0 to 5"),
        ({"semantics": "caffe"}, "semantics is 'caffe'.*; give paper, detectron2, mmdet"),
        ({"anchor_sizes": (8, 16, 32, 64, 128, 256)}, "at most 5"),
    ],
)
def test_options_that_do_not_fit_are_one_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        config_of(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (lambda c: c["backbone"].update(depth=19), "backbone.depth"),
        (lambda c: c["stages"][1].update(iou="high"), r"stages\[1\]"),
        (lambda c: c["semantics"].update(ensemble="best"), "semantics.ensemble"),
        # unused fields
        (lambda c: c.update(stagess=[]), "unknown field `stagess`"),
        (lambda c: c["rpn"].update(nms_thresh=0.7), r"unknown field `nms_thresh` - at `\$\.rpn`"),
        (lambda c: c["stages"][2].update(u=0.7), r"unknown field `u` - at `\$\.stages\[2\]`"),
        (lambda c: c["rpn"]["anchors"].update(scales=[8]), r"unknown field `scales` - at `\$\.rpn\.anchors`"),
        (lambda c: c["categories"][1].update(colour="red"), r"`colour` - at `\$\.categories\[1\]`"),
        (lambda c: c["backbone"].update(type="alexnet"), r"'alexnet' - at `\$\.backbone\.type`"),
        (lambda c: c["box_loss"].update(kind="giou"), r"unknown field `kind` - at `\$\.box_loss`"),
        # invalid values
        (
            lambda c: c["preprocess"].update(std=[0.2, 0, 0.2]),
            r"std is 0.0; give 1e-06 .*- at `\$\.preprocess`",
        ),
        (lambda c: c["preprocess"].update(min_size=[0]), "min_size is 0; give 1 to 1000000"),
        (lambda c: c["preprocess"].update(min_size=[]), "min_size: give a size"),
        (lambda c: c["preprocess"].update(max_size=-1), "max_size is -1"),
        (lambda c: c["inference"].update(nms_iou=5), r"nms_iou is 5.0; give 0 to 1 - at `\$\.inference`"),
        (lambda c: c["inference"].update(score_threshold=-0.1), "score_threshold is -0.1"),
        (lambda c: c["inference"].update(max_detections=0), "max_detections is 0; give 1 to 10000"),
        (lambda c: c["inference"].update(stage=9), "this model has stages 1 to 3"),
        (lambda c: c["stages"][0].update(std=[0, 1, 1, 1]), "a standard deviation that is not a positive number"),
        (lambda c: c["stages"][0].update(loss_weight=-1), "loss_weight is -1"),
        (lambda c: c["rpn"]["anchors"].update(sizes=[8] * 100_000), "100000 levels"),
        (lambda c: c["rpn"]["anchors"].update(sizes=[list(range(1, 100_000))]), "up to 99999 sizes"),
        (lambda c: c["rpn"]["anchors"].update(sizes=[]), "0 levels"),
        (lambda c: c["rpn"]["anchors"].update(sizes=[0]), "sizes is 0; give 1 to"),
        (lambda c: c["rpn"]["anchors"].update(ratios=[0]), "ratios is 0"),
        (lambda c: c["rpn"].update(pre_nms_test=10**9), "pre_nms_test is 1000000000;"),
        (lambda c: c["rpn"].update(nms_iou=-1), "nms_iou is -1"),
        (lambda c: c["box_head"].update(width=10**9), "width"),
        (lambda c: c["backbone"].update(planes=0), "planes is 0"),
        (lambda c: c["roi_align"].update(resolution=0), "resolution is 0"),
        (lambda c: c["sampling"].update(rois=0), "rois is 0"),
        (lambda c: c.update(categories=[]), "a model needs at least one class"),
        (lambda c: c.update(stages=[]), "stages: there are 0"),
        (lambda c: c.update(stages=c["stages"] * 100), "stages: there are 300"),
        (lambda c: c["pyramid"].update(channels=0), "channels is 0"),
    ],
)
def test_json_that_does_not_fit_names_the_field(edit, where):
    value = json.loads(config_of().to_json())
    edit(value)
    with pytest.raises(UserError, match=where) as caught:
        ModelConfig.from_json(json.dumps(value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", b"\xff\xfe"])
def test_text_that_is_not_a_config(text):
    with pytest.raises(UserError, match=r"does not fit this version|is not a JSON object"):
        ModelConfig.from_json(text)


def test_with_inference_changes_what_it_says_and_nothing_else():
    config = config_of()
    changed = config.with_inference(
        min_size=320, max_size=500, score_threshold=0.3, nms_iou=0.6, max_detections=7, test_stage=2, ensemble=False
    )
    assert (changed.preprocess.min_size, changed.preprocess.max_size) == ((320,), 500)
    inference = changed.inference
    assert (inference.score_threshold, inference.nms_iou, inference.max_detections) == (0.3, 0.6, 7)
    assert (inference.stage, inference.ensemble) == (2, False)
    for name in ModelConfig.__struct_fields__:
        if name not in ("preprocess", "inference"):
            assert getattr(changed, name) == getattr(config, name)
    assert config.with_inference() == config
    assert config.with_inference(min_size=None).preprocess.min_size is None
    assert changed.with_inference(test_stage=None).inference.stage is None


def test_with_inference_refuses_the_rest():
    with pytest.raises(UserError, match="'stages' cannot be changed after training") as caught:
        config_of().with_inference(stages=2)
    assert all(name in str(caught.value) for name in INFERENCE)
    for stage in (0, 4):
        with pytest.raises(UserError, match="this model has stages 1 to 3"):
            config_of().with_inference(test_stage=stage)


def test_every_option_of_inference_is_taken():
    values = {"min_size": 64, "max_size": 90, "test_stage": 1, "ensemble": False, "iterations": 2, "survivors": 9}
    values |= {"max_detections": 7, "ensemble_rois": "last", "agnostic_nms": True}
    config = config_of("faster_rcnn_resnet50_fpn")
    for name in INFERENCE:
        assert config.with_inference(**{name: values.get(name, 0.25)}) != config


def test_a_baseline_can_be_iterated_any_number_of_times():
    baseline, iterative = config_of("faster_rcnn_vgg16"), config_of("iterative_bbox_vgg16", iterations=5)
    changed = baseline.with_inference(iterations=5, test_stage=4)
    assert (changed.method, changed.stages) == ("iterative", iterative.stages)
    assert changed.stages == baseline.stages * 5
    assert changed.with_inference(iterations=1, test_stage=None) == baseline
    with pytest.raises(UserError, match="this model has stages 1 to 5"):
        changed.with_inference(test_stage=6)
    for name in ("cascade_rcnn_vgg16", "integral_loss_vgg16"):
        with pytest.raises(UserError, match="only single-stage models can iterate"):
            config_of(name).with_inference(iterations=2)
    with pytest.raises(UserError, match="give 1 or more"):
        baseline.with_inference(iterations=0)


def test_defaults_of_the_families():
    """Section 5.1.1: images, heads and RoIs of each baseline; anchors and widths of the released code."""
    fpn, vgg, rfcn = (config_of(name) for name in ("faster_rcnn_resnet50_fpn", "faster_rcnn_vgg16", "rfcn_resnet50"))
    assert [c.box_head.width for c in (fpn, vgg, rfcn)] == [1024, 2048, 1024]
    assert [c.sampling.rois for c in (fpn, vgg, rfcn)] == [512, 128, 256]
    assert [c.preprocess.min_size for c in (fpn, vgg, rfcn)] == [(800,), (600,), (600,)]
    assert [c.preprocess.max_size for c in (fpn, vgg, rfcn)] == [1333, 1000, 1000]
    assert [c.rpn.anchors.levels for c in (vgg, rfcn)] == [((64, 128, 256, 512),)] * 2
    assert [c.rpn.channels for c in (fpn, vgg, rfcn)] == [None, 512, 512]
    assert config_of("rfcn_resnet50", min_size=None).preprocess.min_size is None
    paper = config_of(semantics="paper").rpn
    assert (paper.anchors.levels, paper.shared) == (((32,), (64,), (128,), (256, 512)), False)


def test_every_field_has_a_default():
    assert ModelConfig.from_json("{}") == ModelConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nms_iou": 5}, "nms_iou is 5.0; give 0 to 1"),
        ({"nms_iou": math.nan}, "nms_iou is nan"),
        ({"min_size": 0}, "min_size is 0; give 1 to 1000000"),
        ({"max_size": 0}, "max_size is 0"),
        ({"score_threshold": math.inf}, "score_threshold is inf"),
        ({"max_detections": 0}, "max_detections is 0"),
        ({"score_threshold": "0.5"}, "score_threshold is '0.5': Expected `float`"),
        ({"max_detection": 5}, "'max_detection' cannot be changed after training; did you mean 'max_detections'?"),
    ],
)
def test_inference_out_of_range_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        config_of().with_inference(**changes)


def test_stages_of_ones_own():
    assert StageConfig() == preset_stages("paper", 1)[0]
