"""The settings of a detectron2 config are carried over."""

import pytest

from cascade_rcnn import create_model
from cascade_rcnn.config import (
    IoULossConfig,
    ModelConfig,
    ResNetConfig,
    RoIAlignConfig,
    SmoothL1Config,
    StageConfig,
    replace,
)
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.categories import coco
from cascade_rcnn.interop.detectron2 import to_config, to_detectron2
from cascade_rcnn.interop.detectron2_config import read_config

FASTER = ModelConfig(name="faster_rcnn_resnet50_fpn", categories=coco(), stages=(StageConfig(),))
CASCADE = replace(FASTER, stages=(StageConfig(),) * 3)


def test_stock_settings():
    config = to_config(CASCADE, None)
    assert [stage.iou for stage in config.stages] == [0.5, 0.6, 0.7]
    assert config.stages[2].std == pytest.approx((1 / 30, 1 / 30, 1 / 15, 1 / 15))
    assert config.preprocess.bgr
    assert config.preprocess.antialias
    assert config.preprocess.mean == pytest.approx((103.53 / 255, 116.28 / 255, 123.675 / 255))
    assert config.preprocess.std == pytest.approx((1 / 255,) * 3)
    assert config.preprocess.min_size == (640, 672, 704, 736, 768, 800)
    assert isinstance(config.backbone, ResNetConfig)
    assert config.backbone.stride_in_1x1
    assert config.roi_align == RoIAlignConfig(sampling=0, aligned=True)
    assert config.semantics.average_pooled_gradient
    assert (config.rpn.post_nms_train, to_config(FASTER, None).rpn.post_nms_train) == (2000, 1000)


def test_settings_of_a_file_and_of_those_it_builds_on(tmp_path):
    (tmp_path / "base.yaml").write_text(
        "MODEL:\n  RPN: {NMS_THRESH: 0.6, SMOOTH_L1_BETA: 0.5}\n  ROI_HEADS: {NUM_CLASSES: 9}"
    )
    (tmp_path / "config.yaml").write_text("""
_BASE_: base.yaml
MODEL:
  RPN: {NMS_THRESH: 0.65}
  RESNETS: {STRIDE_IN_1X1: false, NORM: BN}
  BACKBONE: {FREEZE_AT: 0}
  ANCHOR_GENERATOR: {SIZES: [[16], [32], [64], [128], [256]]}
  ROI_BOX_HEAD: {SMOOTH_L1_BETA: 1.0, BBOX_REG_WEIGHTS: [5, 5, 2, 2], POOLER_TYPE: ROIAlign, POOLER_SAMPLING_RATIO: 2}
  ROI_HEADS: {IOU_THRESHOLDS: [0.55], SCORE_THRESH_TEST: 0.3}
INPUT: {FORMAT: RGB, MIN_SIZE_TRAIN: [640], MIN_SIZE_TEST: 640}
TEST: {DETECTIONS_PER_IMAGE: 30}
DATASETS: {TRAIN: [voc_2007_train]}
""")
    config = to_config(replace(FASTER, categories=FASTER.categories[:20]), read_config(tmp_path / "config.yaml")[0])
    assert config.rpn.nms_iou == 0.65
    assert (config.rpn.box_loss, config.box_loss) == (SmoothL1Config(beta=0.5), SmoothL1Config(beta=1.0))
    backbone = config.backbone
    assert isinstance(backbone, ResNetConfig)
    assert (backbone.stride_in_1x1, backbone.norm.kind, backbone.frozen_stages) == (False, "batch", 0)
    assert config.rpn.anchors.sizes == (16, 32, 64, 128, 256)
    assert config.stages == (StageConfig(iou=0.55, std=(0.2, 0.2, 0.5, 0.5)),)
    assert config.roi_align == RoIAlignConfig(sampling=2, aligned=False)
    assert (config.preprocess.bgr, config.preprocess.min_size) == (False, (640,))
    assert (config.inference.score_threshold, config.inference.max_detections) == (0.3, 30)
    assert config.categories[19].name == "tvmonitor"
    assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL: {MASK_ON: true}\nINPUT: {FORMAT: L}", r"INPUT\.FORMAT is 'L'; only 'BGR' or 'RGB' can be converted"),
        ("MODEL: {MASK_ON: true}\nINPUT: {FORMAT: YUV-BT.601}", r"INPUT\.FORMAT is 'YUV-BT\.601'; only 'BGR' or"),
        ("MODEL: {FPN: {NORM: IN}}", r"MODEL\.FPN\.NORM is 'IN'; only '' or 'FrozenBN'"),
        (
            "MODEL: {BACKBONE: {NAME: build_swin_backbone}}",
            r"NAME is 'build_swin_backbone'; only 'build_resnet_fpn_backbone'",
        ),
        ("MODEL: {ROI_BOX_HEAD: {NORM: IN}}", r"ROI_BOX_HEAD\.NORM is 'IN'; only '' or 'FrozenBN'"),
        ("MODEL: {ROI_HEADS: {NAME: KRCNNROIHeads}}", r"NAME is 'KRCNNROIHeads'; only 'StandardROIHeads' or"),
        ("MODEL: {RPN: {IN_FEATURES: [p3, p4]}}", r"IN_FEATURES is \['p3', 'p4'\]"),
        ("MODEL: {RPN: {NMS_TRESH: 0.6}}", r"MODEL\.RPN\.NMS_TRESH is 0\.6, which has no equivalent here"),
        ("MODEL: {DETIC: {SCORE: 1}}", r"MODEL\.DETIC\.SCORE is 1, which has no equivalent"),
        ("MODEL: {MASK_ON: true}\nTEST: {AUG: {ENABLED: true}}", r"TEST\.AUG\.ENABLED is True; only False can be"),
        ("MODEL: {MASK_ON: true}\nINPUT: {SQUARE_PADDING: 1024}", r"INPUT\.SQUARE_PADDING is 1024"),
        ("_BASE_: config.yaml", "builds on more than 10 files, or itself"),
        ("MODEL: {RESNETS: {RES5_DILATION: 2}}", r"RES5_DILATION is 2; only 1 can be converted"),
        ("SOLVER: {BASE_LR: 1}", "no MODEL section"),
        ("_BASE_: elsewhere.yaml\nMODEL: {RPN: {NMS_THRESH: 0.6}}", r"builds on elsewhere\.yaml, which does not exist"),
        ("_BASE_: detectron2://a/b.yaml", "builds on detectron2://a/b.yaml, which is not a file"),
        ("_BASE_: [a.yaml]", r"builds on \['a.yaml'\], which is not a file"),
        (
            "b0: &b0 [1, 1]\n" + "".join(f"b{k}: &b{k} [*b{k - 1}, *b{k - 1}]\n" for k in range(1, 40)),
            "more values than any config needs",
        ),
        ("[" * 1000, "not a readable YAML file"),
        ("MODEL: !!python/object/apply:os.getcwd []", "not a readable YAML file"),
        ("- 1", "not a mapping of settings"),
    ],
)
def test_what_does_not_convert_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_config(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


def test_what_does_not_touch_the_model_is_let_be(tmp_path):
    (tmp_path / "config.yaml").write_text("""
SOLVER: {BASE_LR: 0.01, AMP: {ENABLED: true}}
DATALOADER: {NUM_WORKERS: 9}
OUTPUT_DIR: elsewhere
INPUT: {CROP: {ENABLED: true}, MAX_SIZE_TRAIN: 1000}
MODEL:
  ROI_HEADS: {NAME: CascadeROIHeads, NUM_CLASSES: 80}
  ROI_MASK_HEAD: {NUM_CONV: 4}
  RESNETS: {DEPTH: 101, NUM_GROUPS: 32}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 2, POOLER_RESOLUTION: 7, CLS_AGNOSTIC_BBOX_REG: true}
DATASETS: {TRAIN: [shapes], OUTPUT_DIR: elsewhere}
EXPERIMENT_NAME: first
EARLY_STOPPING: {PATIENCE: 3}
""")
    assert to_config(CASCADE, read_config(tmp_path / "config.yaml")[0]) == replace(
        to_config(CASCADE, None), categories=CASCADE.categories
    )


def test_sizes_from_a_range_and_anchors_off_the_corner(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "MODEL: {ANCHOR_GENERATOR: {OFFSET: 0.5}}\nINPUT: {MIN_SIZE_TRAIN: [798, 800], MIN_SIZE_TRAIN_SAMPLING: range}"
    )
    config = to_config(FASTER, read_config(tmp_path / "config.yaml")[0])
    assert config.rpn.anchors.offset == 0.5
    assert config.preprocess.min_size == (798, 799, 800)


@pytest.mark.parametrize(
    ("train", "test", "found"),
    [
        ([640, 800], 600, (640, 800, 600)),
        ([800, 640], 800, (640, 800)),
        (600, 800, (600, 800)),
        ([640, 800], 800, (640, 800)),
        ([640, 800], 0, None),
    ],
)
def test_sizes_for_training_are_kept_before_that_for_testing(train, test, found):
    settings = {"INPUT.MIN_SIZE_TRAIN": train, "INPUT.MIN_SIZE_TEST": test}
    assert to_config(FASTER, settings).preprocess.min_size == found


def test_texts_that_are_python_are_what_they_say(tmp_path):
    (tmp_path / "base.yaml").write_text("INPUT:\n  MIN_SIZE_TRAIN: (640, 800)\n  FORMAT: RGB\nMODEL: {WEIGHTS: 'é(1'}")
    (tmp_path / "config.yaml").write_text("_BASE_: ./base.yaml\nMODEL: {RPN: {SMOOTH_L1_BETA: 1e-1}}")
    found, _ = read_config(tmp_path / "config.yaml")
    assert found == {
        "INPUT.MIN_SIZE_TRAIN": [640, 800],
        "INPUT.FORMAT": "RGB",
        "MODEL.WEIGHTS": "é(1",
        "MODEL.RPN.SMOOTH_L1_BETA": 0.1,
    }


def test_a_base_below_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "base.yaml").write_text("MODEL: {RPN: {NMS_THRESH: 0.6}}")
    (tmp_path / "config.yaml").write_text("_BASE_: ~/base.yaml")
    assert read_config(tmp_path / "config.yaml") == ({"MODEL.RPN.NMS_THRESH": 0.6}, [])


@pytest.mark.parametrize(
    ("name", "options"),
    [("rfcn_resnet18", {}), ("iterative_bbox_resnet18_fpn", {}), ("cascade_rcnn_resnet18_fpn", {"semantics": "paper"})],
)
def test_models_that_it_has_no_names_for(name, options):
    model = create_model(name, 2, backbone_width=8, pyramid_channels=8, head_width=8, **options)
    with pytest.raises(UserError, match="with a feature pyramid and an RPN shared by its levels"):
        to_detectron2(model)


def test_several_anchor_sizes():
    sizes = [[32, 48], [64], [128], [256], [512]]
    found = to_config(FASTER, {"MODEL.ANCHOR_GENERATOR.SIZES": sizes})
    assert found.rpn.anchors.sizes == ((32, 48), 64, 128, 256, 512)
    for every in ([[32, 64]], [32, 64]):
        assert to_config(FASTER, {"MODEL.ANCHOR_GENERATOR.SIZES": every}).rpn.anchors.sizes == ((32, 64),) * 5
    ratios = to_config(FASTER, {"MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [0.4, 2.5]}).rpn.anchors.ratios
    assert ratios == (0.4, 2.5)


def test_anchor_sizes_are_whole():
    sizes = [[32.0, 48.0], [64.0], [128.0], [256.0], [512.0]]
    config = to_config(FASTER, {"MODEL.ANCHOR_GENERATOR.SIZES": sizes})
    assert config.rpn.anchors.sizes == ((32, 48), 64, 128, 256, 512)
    assert ModelConfig.from_json(config.to_json()) == config
    with pytest.raises(UserError, match=r"anchors of 32\.5 pixels; only whole numbers can be converted"):
        to_config(FASTER, {"MODEL.ANCHOR_GENERATOR.SIZES": [[32.5], *sizes[1:]]})


def test_anchors_and_stages_have_to_fit():
    with pytest.raises(UserError, match="anchor ratios that differ between levels"):
        to_config(FASTER, {"MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[1.0], [2.0]]})
    with pytest.raises(UserError, match="the checkpoint has 3 stages, but its config has 2"):
        to_config(CASCADE, {"MODEL.ROI_BOX_CASCADE_HEAD.IOUS": [0.5, 0.6]})


def test_losses_of_decoded_boxes(tmp_path):
    text = (
        "MODEL: {ROI_BOX_HEAD: {BBOX_REG_LOSS_TYPE: giou, BBOX_REG_LOSS_WEIGHT: 2.0}, RPN: {BBOX_REG_LOSS_TYPE: ciou}}"
    )
    (tmp_path / "config.yaml").write_text(text)
    config = to_config(FASTER, read_config(tmp_path / "config.yaml")[0])
    assert (config.box_loss, config.rpn.box_loss) == (IoULossConfig(weight=2.0), IoULossConfig(kind="ciou"))


def test_a_missing_base_of_detectron2_is_known(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("_BASE_: ../configs/Base-RCNN-FPN.yaml\nMODEL: {ROI_HEADS: {SCORE_THRESH_TEST: 0.2}}")
    settings, notes = read_config(file)
    assert settings == {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.2}
    assert notes == ["../configs/Base-RCNN-FPN.yaml does not exist; detectron2's own config of that name is used"]
    file.write_text("_BASE_: COCO-Detection/mine.yaml\nMODEL: {ROI_HEADS: {SCORE_THRESH_TEST: 0.2}}")
    known = {"mine": {"MODEL.RPN.NMS_THRESH": 0.6, "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.1}}
    settings, notes = read_config(file, known.get)
    assert settings == {"MODEL.RPN.NMS_THRESH": 0.6, "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.2}
    assert len(notes) == 1


def test_what_only_training_depends_on_is_noted(tmp_path):
    text = "MODEL: {RPN: {LOSS_WEIGHT: 2.0, BBOX_REG_LOSS_TYPE: l7}, ROI_HEADS: {PROPOSAL_APPEND_GT: false}}"
    (tmp_path / "config.yaml").write_text(text)
    settings, notes = read_config(tmp_path / "config.yaml")
    assert settings == {}
    (note,) = notes
    assert note.startswith(
        "settings that affect only training and have no equivalent are left out: MODEL.RPN.LOSS_WEIGHT, "
    )
    assert to_config(FASTER, settings).rpn.box_loss == to_config(FASTER, {}).rpn.box_loss
