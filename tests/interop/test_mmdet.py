"""What an mmdetection config says comes along, and nothing in it is run."""

from dataclasses import replace

import pytest

from cascade_rcnn.config import ModelConfig, Stage
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.categories import coco
from cascade_rcnn.interop.mmdet import parse_config, read_config, to_config

FASTER = ModelConfig(name="faster_rcnn_resnet50_fpn", categories=coco(), stages=(Stage(),))
CASCADE = replace(FASTER, stages=(Stage(),) * 3)
OLD = """
'''A config of version 2.'''
norm = dict(type='BN', requires_grad=False)
img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)
model = dict(
    backbone=dict(type='ResNet', style='caffe', norm_cfg=norm, norm_eval=True, frozen_stages=-1),
    rpn_head=dict(type='RPNHead', loss_bbox=dict(type='SmoothL1Loss', beta=1.0 / 9.0),
                  anchor_generator=dict(type='AnchorGenerator', scales=[4.0], ratios=[0.5, 1, 2], strides=[4, 8, 16])),
    roi_head=dict(
        bbox_head=dict(loss_bbox=dict(type='L1Loss'), bbox_coder=dict(target_stds=[0.2, 0.2, 0.4, 0.4]))))
train_cfg = dict(rpn=dict(allowed_border=-1), rcnn=dict(assigner=dict(pos_iou_thr=0.6), sampler=dict(num=128)))
test_cfg = dict(rcnn=dict(score_thr=0.01, nms=dict(type='nms', iou_threshold=0.4), max_per_img=50))
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='MultiScaleFlipAug', img_scale=(1000, 600))]
data = dict(train=dict(type='CocoDataset', classes=('a', 'b')))
"""


def test_stock_settings():
    cascade, faster = to_config(CASCADE, None), to_config(FASTER, None)
    assert [stage.loss_weight for stage in cascade.stages] == [1.0, 0.5, 0.25]
    assert cascade.stages[2].std == (0.033, 0.033, 0.067, 0.067)
    assert (cascade.semantics.box_beta, faster.semantics.box_beta) == (1.0, 0.0)
    assert (cascade.semantics.rpn_anchors, faster.semantics.rpn_anchors) == ("inside", "centre-inside")
    assert (cascade.backbone.norm, cascade.backbone.frozen_stages) == ("affine", 2)
    assert not cascade.preprocess.bgr
    assert not cascade.backbone.stride_in_1x1
    assert cascade.rpn.anchors.sizes == (32, 64, 128, 256, 512)
    assert (cascade.preprocess.min_size, cascade.preprocess.max_size) == ((800,), 1333)


def test_settings_of_version_2_caffe_style():
    config = to_config(replace(FASTER, categories=FASTER.categories[:2]), parse_config(OLD, "config.py"))
    assert (config.backbone.stride_in_1x1, config.backbone.norm, config.backbone.frozen_stages) == (True, "frozen", 0)
    assert config.preprocess.bgr
    assert config.preprocess.mean == pytest.approx((103.53 / 255, 116.28 / 255, 123.675 / 255))
    assert (config.preprocess.min_size, config.preprocess.max_size) == ((600,), 1000)
    assert config.semantics.rpn_box_beta == pytest.approx(1 / 9)
    assert config.semantics.box_beta == 0
    assert config.rpn.anchors.sizes == (16, 32, 64)
    assert config.stages == (Stage(iou=0.6, std=(0.2, 0.2, 0.4, 0.4)),)
    assert config.sampling.rois == 128
    assert (config.inference.score_threshold, config.inference.nms_iou, config.inference.max_detections) == (
        0.01,
        0.4,
        50,
    )
    assert [c.name for c in config.categories] == ["a", "b"]
    assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os\nmodel = dict()", "line 1 is no assignment"),
        ("model = dict(x=__import__('os').getcwd())", "which is no plain value"),
        ("model = dict(x=open('file'))", r"line 1 holds 'open\('file'\)', which is no plain value"),
        ("model = dict(x=[1] * 10**9)", "no plain value|calculates with"),
        ("model = dict(x=1 / 0)", "division by zero"),
        ("model = dict(", "was never closed"),
        ("_base_ = ['../base.py']\nmodel = dict()", r"builds on \['../base.py'\]; give the flat config"),
        ("x = 1", "has no `model`"),
        ("model = dict(neck=dict(type='PAFPN'))", r"model\.neck\.type is 'PAFPN'; 'FPN' converts"),
        ("model = dict(backbone=dict(norm_cfg=dict(type='GN')))", r"norm_cfg\.type is 'GN'"),
        ("model = dict(test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))))", "'soft_nms'; 'nms' converts"),
    ],
)
def test_what_does_not_convert_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_config(tmp_path / "config.py")
    assert str(caught.value).startswith(str(tmp_path / "config.py"))
    assert "\n" not in str(caught.value)


def test_other_box_losses_are_refused():
    settings = parse_config("model = dict(roi_head=dict(bbox_head=dict(loss_bbox=dict(type='GIoULoss'))))", "config.py")
    with pytest.raises(UserError, match="box loss is GIoULoss"):
        to_config(FASTER, settings)
