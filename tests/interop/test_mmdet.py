"""The settings of an mmdetection config are carried over, and none of its code is run."""

import pytest

from cascade_rcnn.config import Category, IoULossConfig, ModelConfig, ResNetConfig, SmoothL1Config, StageConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.categories import coco
from cascade_rcnn.interop.mmdet import parse_config, read_config, to_config

FASTER = ModelConfig(name="faster_rcnn_resnet50_fpn", categories=coco(), stages=(StageConfig(),))
CASCADE = replace(FASTER, stages=(StageConfig(),) * 3)
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
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='MultiScaleFlipAug', img_scale=(1000, 600), transforms=[
    dict(type='Resize', keep_ratio=True), dict(type='Normalize', **img_norm_cfg), dict(type='Pad', size_divisor=32)])]
data = dict(train=dict(type='CocoDataset', classes=('a', 'b')))
"""


def test_stock_settings():
    cascade, faster = to_config(CASCADE, None), to_config(FASTER, None)
    assert [stage.loss_weight for stage in cascade.stages] == [1.0, 0.5, 0.25]
    assert cascade.stages[2].std == (0.033, 0.033, 0.067, 0.067)
    assert (cascade.box_loss, faster.box_loss) == (SmoothL1Config(beta=1.0), SmoothL1Config())
    assert (cascade.rpn.trained_anchors, faster.rpn.trained_anchors) == ("inside", "centre-inside")
    assert isinstance(cascade.backbone, ResNetConfig)
    assert (cascade.backbone.norm.kind, cascade.backbone.frozen_stages) == ("affine", 2)
    assert not cascade.preprocess.bgr
    assert not cascade.backbone.stride_in_1x1
    assert cascade.rpn.anchors.sizes == (32, 64, 128, 256, 512)
    assert (cascade.preprocess.min_size, cascade.preprocess.max_size) == ((800,), 1333)


def test_settings_of_version_2_caffe_style():
    config = to_config(replace(FASTER, categories=FASTER.categories[:2]), parse_config(OLD, "config.py"))
    backbone = config.backbone
    assert isinstance(backbone, ResNetConfig)
    assert (backbone.stride_in_1x1, backbone.norm.kind, backbone.frozen_stages) == (True, "frozen", 0)
    assert config.preprocess.bgr
    assert config.preprocess.mean == pytest.approx((103.53 / 255, 116.28 / 255, 123.675 / 255))
    assert (config.preprocess.min_size, config.preprocess.max_size) == ((600,), 1000)
    assert config.rpn.box_loss == SmoothL1Config(beta=1.0 / 9.0)
    assert config.box_loss == SmoothL1Config()
    assert config.rpn.anchors.sizes == (16, 32, 64)
    assert config.stages == (StageConfig(iou=0.6, std=(0.2, 0.2, 0.4, 0.4)),)
    assert config.sampling.rois == 128
    assert (config.inference.score_threshold, config.inference.nms_iou, config.inference.max_detections) == (
        0.01,
        0.4,
        50,
    )
    assert [c.name for c in config.categories] == ["a", "b"]
    assert ModelConfig.from_json(config.to_json()) == config


def test_nms_that_is_class_agnostic():
    settings = parse_config(OLD.replace("iou_threshold=0.4", "iou_threshold=0.4, class_agnostic=True"), "config.py")
    assert to_config(replace(FASTER, categories=FASTER.categories[:2]), settings).inference.agnostic_nms


def test_what_version_3_leaves_out_has_the_defaults_of_its_classes():
    """`DetDataPreprocessor` keeps BGR and does not normalise, and the coder's standard deviations are 1."""
    text = "model = dict(data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32{}))"
    plain = to_config(FASTER, parse_config(text.format(""), "config.py")).preprocess
    assert (plain.bgr, plain.mean, plain.std) == (True, (0.0,) * 3, (1 / 255,) * 3)
    caffe = to_config(FASTER, parse_config(text.format(", mean=[103.53, 116.28, 123.675], std=[1, 1, 1]"), "config.py"))
    assert caffe.preprocess.bgr
    assert caffe.preprocess.mean[0] == pytest.approx(103.53 / 255)
    coder = "model = dict(roi_head=dict(bbox_head=dict(bbox_coder=dict(type='DeltaXYWHBBoxCoder'))))"
    assert to_config(FASTER, parse_config(coder, "config.py")).stages[0].std == (1.0,) * 4


def test_a_head_without_a_coder_has_the_one_of_its_class():
    head = {"type": "Shared2FCBBoxHead"}
    config = to_config(CASCADE, parse_config(f"model = dict(roi_head=dict(bbox_head={[head] * 3}))", "config.py"))
    assert {stage.std for stage in config.stages} == {(0.1, 0.1, 0.2, 0.2)}
    fewer = parse_config(f"model = dict(roi_head=dict(bbox_head={[head]}))", "config.py")
    assert to_config(CASCADE, fewer).stages[2].std == (0.1, 0.1, 0.2, 0.2)


@pytest.mark.parametrize(
    "text",
    [
        "metainfo = dict(CLASSES=('a', 'b'))",
        "train_dataloader = dict(dataset=dict(type='RepeatDataset', dataset=dict(metainfo=dict(classes=('a', 'b')))))",
        "train_dataloader = dict(dataset=dict(datasets=[dict(metainfo=dict(classes=['a', 'b'])), dict()]))",
        "data = dict(train=[dict(type='CocoDataset', classes=['a', 'b'])])",
        "data = dict(train=dict(dataset=dict(type='CocoDataset', classes=['a', 'b'])))",
        "data = dict(test=dict(classes=['a', 'b']))",
        "import x\ndata = dict(train=dict(metainfo=x.y), test=dict(classes=['a', 'b']))",
    ],
)
def test_classes_of_datasets_and_of_what_wraps_them(text):
    two = replace(FASTER, categories=FASTER.categories[:2])
    assert to_config(two, parse_config(f"model = dict()\n{text}", "config.py")).class_names == ["a", "b"]


def test_other_classes_than_the_heads_have_are_not_taken_for_coco_s():
    """Forgetting `num_classes` in the heads is common: the names are then those of the config, or none."""
    text = "model = dict()\ndataset_type = 'CocoDataset'\ndata = dict(train=dict(classes=('scratch',)))"
    unnamed = replace(FASTER, categories=tuple(Category(id=k, name=f"class {k}") for k in range(1, 81)))
    assert to_config(unnamed, parse_config(text, "config.py")).class_names[0] == "class 1"


@pytest.mark.parametrize("key", ["test", "dataset"])
def test_the_pipeline_of_the_test_data_precedes_the_variable_of_that_name(key):
    resize = "[dict(type='Resize', scale=({}, {}), keep_ratio=True)]"
    data = {"test": "data = dict(test=dict(pipeline={}))", "dataset": "test_dataloader = dict(dataset={})"}[key]
    inner = "dict(type='RepeatDataset', dataset=dict(pipeline={}))"
    stated = (inner if key == "dataset" else "{}").format(resize.format(900, 600))
    text = f"model = dict()\ntest_pipeline = {resize.format(400, 300)}\n{data.format(stated)}"
    config = to_config(FASTER, parse_config(text, "config.py"))
    assert (config.preprocess.min_size, config.preprocess.max_size) == ((600,), 900)


@pytest.mark.parametrize(
    "backbone",
    [
        "type='ResNet', depth=50, style='pytorch'",
        "type='ResNeXt', depth=101, groups=32, base_width=4, style='pytorch'",
        "type='RegNet', arch='regnetx_3.2gf', style='pytorch'",
        "type='Res2Net', depth=101, scales=4, base_width=26, style='pytorch'",
        "type='ResNeSt', depth=50, stem_channels=64, radix=2, reduction_factor=4, avg_down_stride=True",
        "type='SwinTransformer', embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7",
        "type='mmpretrain.ConvNeXt', arch='tiny', layer_scale_init_value=1.0, gap_before_final_norm=False",
    ],
)
@pytest.mark.parametrize(
    "inert",
    [
        "init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'), with_cp=False",
        "init_cfg=[dict(type='Kaiming', layer='Conv2d'), dict(type='Constant', val=1, layer=['BatchNorm2d'])]",
        "pretrained='open-mmlab://resnet50_v1c', with_cp=True, init_cfg=None",
    ],
)
def test_how_weights_begin_and_activations_are_kept_matters_in_no_part(backbone, inert):
    text = f"""
model = dict(
    type='CascadeRCNN', {inert},
    backbone=dict({backbone}, {inert}),
    neck=dict(type='FPN', in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=5, {inert}),
    rpn_head=dict(type='RPNHead', in_channels=256, {inert}),
    roi_head=dict(type='CascadeRoIHead', bbox_head=[dict(type='Shared2FCBBoxHead', {inert})] * 3))
"""
    assert parse_config(text, "config.py").notes == []


def test_version_1_is_refused_by_its_name():
    text = "model = dict(type='CascadeRCNN', num_stages=3, bbox_roi_extractor=dict(), bbox_head=[dict(num_classes=81)])"
    with pytest.raises(UserError, match=r"config\.py: this is from mmdetection 1\.x"):
        parse_config(text, "config.py")


def _head(**settings: object) -> dict:
    return {"roi_head": {"bbox_head": settings}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("if True:\n    model = dict()", "line 1 is not an assignment"),
        ("model = dict(x=__import__('os').getcwd())", "which is not a plain value"),
        ("model = dict(x=open('file'))", "line 1 holds 'open', which is not a plain value"),
        ("model = dict(x=[1] * 10**9)", "line 1: makes more values than any config needs"),
        ("model = dict(x=1 / 0)", "division by zero"),
        ("model = dict(", "was never closed"),
        ("_base_ = ['../base.py']\nmodel = dict()", r"builds on \.\./base\.py, which does not exist"),
        ("x = 1", "has no `model`"),
        ("model = dict(neck=dict(type='PAFPN'))", r"model\.neck\.type is 'PAFPN'; only 'FPN' can be converted"),
        ("model = dict(backbone=dict(norm_cfg=dict(type='LN')))", r"norm_cfg\.type is 'LN'"),
        ("model = dict(test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))))", "'soft_nms'; only 'nms' can be"),
        (
            f"model = {_head(cls_predictor_cfg={'type': 'NormedLinear', 'tempearture': 20})}",
            "is 'NormedLinear'; only 'Linear'",
        ),
        (f"model = {_head(loss_cls={'type': 'SeesawLoss', 'p': 0.8})}", "'SeesawLoss'; only 'CrossEntropyLoss' can be"),
        (f"model = {_head(loss_bbox={'type': 'GIoULoss'})}", "reg_decoded_bbox is False with GIoULoss; it must be"),
        (f"model = {_head(reg_decoded_bbox=True)}", "reg_decoded_bbox is True with L1Loss; it must be True for"),
        (
            "model = dict(roi_head=dict(bbox_head=[dict(loss_bbox=dict(type='L1Loss')), dict()]))",
            "different loss_bbox settings in .*; only one for all",
        ),
        (f"model = {_head(temperature=2)}", r"bbox_head\.temperature is 2, which has no equivalent here"),
        ("model = dict(roi_head=dict(type='DoubleHeadRoIHead'))", "'DoubleHeadRoIHead'; only 'StandardRoIHead' or"),
        (
            "model = dict(backbone=dict(dcn=dict(deform_groups=1, type='DCNv3')))",
            r"dcn\.type is 'DCNv3'; only 'DCN' or 'DCNv2' can be converted",
        ),
        ("model = dict(rpn_head=dict(anchor_generator=dict(strides=[8, 16])))", r"strides is \[8, 16\]; only \[4, 8"),
        (
            "model = dict(data_preprocessor=dict(type='DetDataPreprocessor'))",
            r"data_preprocessor\.pad_size_divisor is 1, its default; only 32",
        ),
        ("model = dict(test_cfg=dict(rcnn=dict(mask_thr_binary=0.3)))", r"mask_thr_binary is 0\.3; only 0\.5 can be"),
        (
            "model = dict()\ntest_pipeline = [dict(type='MultiScaleFlipAug', img_scale=[(1, 2), (3, 4)])]",
            "uses several scales or flips",
        ),
        ("model = dict()\ntest_pipeline = [dict(type='Resize', scale=(900, 600))]", "two sides with keep_ratio"),
        ("model = dict()\ntest_pipeline = [dict(type='Resize', scale_factor=2.0)]", "only a scale of two sides"),
    ],
)
def test_what_does_not_convert_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_config(tmp_path / "config.py")
    assert str(caught.value).startswith(str(tmp_path / "config.py"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"{_head(loss_bbox={'type': 'BalancedL1Loss', 'alpha': 0.5})}", "model.roi_head.bbox_head.loss_bbox.type"),
        (f"{_head(loss_cls={'type': 'FocalLoss', 'use_sigmoid': True})}", "model.roi_head.bbox_head.loss_cls.type"),
        (f"{_head(loss_cls={'class_weight': [1, 2]})}", "model.roi_head.bbox_head.loss_cls.class_weight"),
        (f"{_head(loss_cls={'type': 'CrossEntropyLoss', 'use_sigmoid': True})}", "loss_cls.use_sigmoid"),
        ("dict(rpn_head=dict(loss_cls=dict(type='FocalLoss', use_sigmoid=True)))", "model.rpn_head.loss_cls.type"),
        ("dict(train_cfg=dict(rcnn=dict(sampler=dict(type='OHEMSampler', k=1))))", "model.train_cfg.rcnn.sampler.type"),
        ("dict(train_cfg=dict(rpn=dict(allowed_border=5)))", "model.train_cfg.rpn.allowed_border"),
        ("dict(train_cfg=dict(rcnn=dict(assigner=dict(pos_iou_thr=.5, neg_iou_thr=.4))))", "assigner.neg_iou_thr"),
        ("dict(train_cfg=dict(rpn_proposal=dict(nms_thr=0.8)))", "model.train_cfg.rpn_proposal (nms_iou of 0.8)"),
        (
            f"dict(train_cfg=dict(rcnn={[{'sampler': {'num': n}} for n in (512, 256)]}))",
            "sampler.num (of other stages than the first)",
        ),
        (
            "dict(train_cfg=dict(rcnn=[dict(sampler=dict(num=256)), dict(sampler=dict())]))",
            "sampler.num (of other stages than the first)",
        ),
    ],
)
def test_what_only_training_depends_on_is_noted(text, names):
    settings = parse_config(f"model = {text}", "config.py")
    (note,) = settings.notes
    assert note.startswith("settings that affect only training and have no equivalent are left out: model.")
    assert note.endswith(names)
    config = to_config(FASTER, settings)
    assert (config.classification, config.rpn.nms_iou) == ("softmax", 0.7)


@pytest.mark.parametrize(
    ("part", "one", "other", "name"),
    [
        ("bbox_roi_extractor", {"roi_layer": {"sampling_ratio": 2}}, {"roi_layer": {}}, "roi_layer"),
        ("mask_roi_extractor", {"roi_layer": {"aligned": False}}, {}, "roi_layer"),
        ("bbox_head", {"norm_cfg": {"type": "GN", "num_groups": 8}}, {"norm_cfg": {"type": "GN"}}, "norm_cfg"),
        ("bbox_head", {"loss_bbox": {"type": "L1Loss"}}, {}, "loss_bbox"),
        ("mask_head", {"norm_cfg": {"type": "BN", "eps": 1e-3}}, {"norm_cfg": {"type": "BN"}}, "norm_cfg"),
        ("mask_head", {"loss_mask": {"loss_weight": 2.0}}, {"loss_mask": {}}, r"loss_mask\.loss_weight"),
    ],
)
def test_what_is_read_once_is_the_same_for_all_stages(part, one, other, name):
    text = "model = dict(roi_head={})"
    parse_config(text.format({part: [one, one, one]}), "config.py")
    with pytest.raises(
        UserError, match=rf"config\.py: the stages have different {name} settings in .*{part}; only one"
    ):
        parse_config(text.format({part: [one, one, other]}), "config.py")


@pytest.mark.parametrize("several", [False, True])
def test_roi_extractors_of_each_stage_are_read_as_those_of_all(several):
    extractor = {"roi_layer": {"type": "RoIAlign", "sampling_ratio": 2, "aligned": False}}
    text = f"model = dict(roi_head=dict(bbox_roi_extractor={[extractor] * 3 if several else extractor}))"
    roi_align = to_config(CASCADE, parse_config(text, "config.py")).roi_align
    assert (roi_align.sampling, roi_align.aligned) == (2, False)


def test_anchors_have_whole_sizes():
    text = "model = dict(rpn_head=dict(anchor_generator=dict(scales=[{}])))"
    sizes = to_config(FASTER, parse_config(text.format("0.1 * 30"), "config.py")).rpn.anchors.sizes
    assert sizes == (12, 24, 48, 96, 192)
    with pytest.raises(UserError, match=r"anchors of 10\.4 pixels; only whole numbers can be converted"):
        to_config(FASTER, parse_config(text.format(2.6), "config.py"))


def test_the_first_names_of_version_2():
    text = """
layer = dict(type='RoIAlign', out_size=7, sample_num=2)
model = dict(rpn_head=dict(anchor_generator=dict(center_offset=0.5)),
             roi_head=dict(bbox_roi_extractor=dict(roi_layer=layer)))
train_cfg = dict(rpn_proposal=dict(nms_across_levels=False, nms_pre=1500, nms_post=1500, max_num=1200, nms_thr=0.6))
test_cfg = dict(rpn=dict(nms_pre=900, nms_post=900, max_num=800, nms_thr=0.6),
                rcnn=dict(nms=dict(type='nms', iou_thr=.4)))
img_norm_cfg = dict(mean=[0., 0., 0.], std=[1., 1., 1.], to_rgb=True)
test_pipeline = [dict(type='MultiScaleFlipAug', img_scale=(700, 400), flip=False, transforms=[
    dict(type='Resize', keep_ratio=True), dict(type='RandomFlip'),
    dict(type='Normalize', mean=[51., 51., 51.], std=[255., 255., 255.], to_rgb=False)])]
"""
    config = to_config(FASTER, parse_config(text, "config.py"))
    assert (config.rpn.pre_nms_train, config.rpn.post_nms_train) == (1500, 1200)
    assert (config.rpn.pre_nms_test, config.rpn.post_nms_test, config.rpn.nms_iou) == (900, 800, 0.6)
    assert (config.inference.nms_iou, config.rpn.anchors.offset, config.roi_align.sampling) == (0.4, 0.5, 2)
    assert (config.preprocess.min_size, config.preprocess.max_size, config.preprocess.bgr) == ((400,), 700, True)
    assert (config.preprocess.mean, config.preprocess.std) == ((0.2, 0.2, 0.2), (1.0, 1.0, 1.0))


def test_a_loop_s_settings_are_not_the_model_s():
    text = "model = dict(train_cfg=None)\ntrain_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12)"
    assert to_config(FASTER, parse_config(text, "config.py")).rpn.post_nms_train == 1000
    assert parse_config("model = dict()\ntest_cfg = dict(type='TestLoop')", "config.py")("model.test_cfg") is None


def test_match_low_quality_of_the_heads_converts_where_it_changes_nothing():
    """Mask R-CNN's own configs have it, from the IoU at which a box is positive anyway."""
    assigner = "dict(match_low_quality=True, pos_iou_thr=.5, neg_iou_thr=.5, min_pos_iou={})"
    text = f"model = dict(train_cfg=dict(rcnn=dict(assigner={assigner})))"
    assert not parse_config(text.format(0.5), "config.py").notes
    (note,) = parse_config(text.format(0.3), "config.py").notes
    assert note.endswith("model.train_cfg.rcnn.assigner.match_low_quality")


def test_losses_of_decoded_boxes_and_weights_of_losses():
    head = "dict(reg_decoded_bbox=True, loss_bbox=dict(type='GIoULoss', loss_weight=10.0))"
    text = f"model = dict(roi_head=dict(bbox_head=[{head}, {head}, {head}]))"
    assert to_config(CASCADE, parse_config(text, "config.py")).box_loss == IoULossConfig(kind="giou", weight=10.0)
    bounded = text.replace("GIoULoss'", "BoundedIoULoss', beta=0.2")
    assert to_config(CASCADE, parse_config(bounded, "config.py")).box_loss == IoULossConfig(
        kind="bounded_iou", weight=10
    )
    with pytest.raises(UserError, match=r"box loss is .*'beta': 0\.5"):
        to_config(CASCADE, parse_config(bounded.replace("0.2", "0.5"), "config.py"))
    text = "model = dict(rpn_head=dict(loss_bbox=dict(type='L1Loss', loss_weight=2.0)))"
    assert to_config(FASTER, parse_config(text, "config.py")).rpn.box_loss == SmoothL1Config(weight=2.0)
