"""detectron2's LazyConfigs: the settings that can be read from their text, and those that would be lost."""

import json
from pathlib import Path

import pytest

from cascade_rcnn.assets import LAZY_CONFIGS
from cascade_rcnn.config import ModelConfig, SmoothL1Config, StageConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.hub.peers import config_file
from cascade_rcnn.hub.table import published
from cascade_rcnn.interop import lazy_files
from cascade_rcnn.interop.categories import coco
from cascade_rcnn.interop.detectron2 import to_config
from cascade_rcnn.interop.lazy_config import read_config

FASTER = ModelConfig(name="faster_rcnn_resnet50_fpn", categories=coco(), stages=(StageConfig(),))
CASCADE = replace(FASTER, stages=(StageConfig(),) * 3)
IMPORTS = """
from detectron2 import model_zoo
from detectron2.config import LazyCall as L
from detectron2.modeling import A, B
"""


def read(folder: Path, text: str, **others: str):
    for name, other in {**others, "config": text}.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(IMPORTS + other)
    return lazy_files.read(folder / "config.py")


def test_calls_are_settings(tmp_path):
    found = read(
        tmp_path,
        """
from functools import partial
import torch.nn as nn
model = L(A)(part=L(B)(width=3, layer=partial(nn.LayerNorm, eps=1e-6)), n=4)
model.part.width //= 2
model._target_ = B
""",
    )
    layer = {"_target_": "functools.partial", "_args_": ["torch.nn.LayerNorm"], "eps": 1e-6}
    part = {"width": 1, "layer": layer, "_target_": "detectron2.modeling.B"}
    assert found["model"] == {"part": part, "n": 4, "_target_": "detectron2.modeling.B"}


def test_references_are_what_they_refer_to(tmp_path):
    text = """
model = L(A)(n=2, below=[L(B)(n="${...n}", m="${.k}", k="${model.top}")], top=7)
model.n = 3
"""
    below = read(tmp_path, text)["model"]["below"][0]
    assert (below["n"], below["m"], below["k"]) == (3, 7, 7)


def test_other_files_come_first_and_stay_as_they_are(tmp_path):
    found = read(
        tmp_path,
        """
from .base import model, train as schedule
from .base import model as second
model.heads = [L(B)(k=k) for k, _ in zip(range(2), "ab")]
[model.pop(name) for name in ["old"]]
model.update(part=dict(a=1))
for head in model.heads:
    head.k += 10
""",
        base="model = L(A)(old=1, part=dict(b=2))\ntrain = dict(steps=90)",
    )
    target = {"_target_": "detectron2.modeling.A"}
    heads = [{"k": k, "_target_": "detectron2.modeling.B"} for k in (10, 11)]
    assert found["model"] == {"part": {"a": 1}, "heads": heads, **target}  # unlike in mmengine, `update` does not merge
    assert found["second"] == {"old": 1, "part": {"b": 2}, **target}
    assert found["schedule"] == {"steps": 90}


def test_detectron2s_own_files_are_found_above_or_known(tmp_path):
    asks = 'constants = model_zoo.get_config("common/data/constants.py").constants'
    assert read(tmp_path, asks)["constants"]["imagenet_rgb256_std"] == [58.395, 57.12, 57.375]
    (tmp_path / "configs" / "common" / "data").mkdir(parents=True)
    (tmp_path / "configs" / "common" / "data" / "constants.py").write_text("constants = dict(imagenet_rgb256_std=1)")
    (tmp_path / "projects").mkdir()
    assert read(tmp_path / "projects", asks)["constants"] == {"imagenet_rgb256_std": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from .nowhere import model", r"config\.py: builds on nowhere\.py, which does not exist"),
        ('model = model_zoo.get_config("common/models/none.py").model', r"builds on common/models/none\.py"),
        ("from .config import model", "builds on itself"),
        ('model = L(A)(x="${.y}")', "uses 'y'"),
        ('model = L(A)(x="${......y}")', "refers to nothing"),
        ('model = L(A)(x="${.y}", y="${.x}")', "refers to nothing"),
        ("model = L(A)(x=1)\nA.register(model)", r"calls 'A\.register\(model\)', which is not run here"),
        ("model = L(A)(1)", "calls a LazyCall with positional arguments"),
        ("import sys\nif sys:\n    model = 1", "is not an assignment"),
    ],
)
def test_what_does_not_follow_from_the_text_is_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


STOCK = 'model = model_zoo.get_config("common/models/cascade_rcnn.py").model\n'


def settings(folder: Path, text: str):
    (folder / "config.py").write_text(IMPORTS + text)
    return read_config(folder / "config.py")


def test_a_cascade_becomes_what_its_yaml_says(tmp_path):
    data = 'dataloader = model_zoo.get_config("common/data/coco.py").dataloader\n'
    lazily = to_config(CASCADE, settings(tmp_path, STOCK + data))
    stock = to_config(CASCADE, None)
    assert lazily == replace(
        stock,
        preprocess=replace(stock.preprocess, min_size=(800,)),
        rpn=replace(stock.rpn, post_nms_train=1000),
        backbone=replace(stock.backbone, frozen_stages=0),
    )


def test_what_it_changes_is_heard(tmp_path):
    found = to_config(
        CASCADE,
        settings(
            tmp_path,
            STOCK
            + """
model.pixel_std = [57.375, 57.12, 58.395]
model.proposal_generator.update(pre_nms_topk=(900, 800), nms_thresh=0.6, smooth_l1_beta=0.1)
model.proposal_generator.anchor_generator.aspect_ratios = [[0.4, 1.0, 2.5]]
model.roi_heads.box_pooler.sampling_ratio = 2
model.backbone.bottom_up.freeze_at = 2
model.backbone.bottom_up.stages.stride_in_1x1 = False
for stage, matcher in zip(model.roi_heads.box_predictors, model.roi_heads.proposal_matchers):
    stage.test_topk_per_image = 300
    stage.test_score_thresh = 0.02
    matcher.thresholds[0] += 0.125
model.roi_heads.box_predictors[2].box2box_transform.weights = (40, 40, 20, 20)
""",
        ),
    )
    assert found.preprocess.std == pytest.approx((0.225, 0.224, 0.229))
    assert (found.rpn.pre_nms_train, found.rpn.pre_nms_test, found.rpn.nms_iou) == (900, 800, 0.6)
    assert (found.rpn.box_loss, found.rpn.anchors.ratios) == (SmoothL1Config(beta=0.1), (0.4, 1.0, 2.5))
    assert [stage.iou for stage in found.stages] == [0.625, 0.725, 0.825]
    assert found.stages[2].std == (1 / 40, 1 / 40, 1 / 20, 1 / 20)
    assert (found.inference.max_detections, found.inference.score_threshold) == (300, 0.02)
    assert found.roi_align.sampling == 2
    assert found.backbone == replace(to_config(CASCADE, None).backbone, frozen_stages=2, stride_in_1x1=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.roi_heads.box_predictors[1].test_nms_thresh = 0.4", "the stages' box heads differ in more than IoU"),
        ("model.input_format = 'L'", r"model\.input_format is 'L'; only 'BGR' or 'RGB' can be converted"),
        ("model.backbone.fuse_type = 'avg'", r"model\.backbone\.fuse_type is 'avg'; only 'sum' can be converted"),
        ("model.roi_heads.soft_nms = L(B)(x=1)", r"model\.roi_heads\.soft_nms\._target_ is 'B', which has no equiv"),
        ("model.pixel_mean = A.MEAN", r"pixel_mean is detectron2\.modeling\.A\.MEAN, which is defined elsewhere"),
        (
            "model.backbone.bottom_up = L(A)(out_features=[1])",
            r"model\.backbone\.bottom_up\._target_ is 'A'; only 'ResNet'",
        ),
        ("model.backbone.bottom_up.stages.dilation = 2", r"bottom_up\.stages\.dilation is 2, which has no equiv"),
        ("dataloader = dict(test=dict(mapper=dict(augmentations=[L(B)()])))", "images are transformed by B"),
        (
            "dataloader = dict(test=dict(mapper=dict(image_format='RGB')))",
            r"test images are loaded as RGB .*, but model\.input_format is BGR",
        ),
        ("model = 1", "has no `model`"),
    ],
)
def test_what_would_be_lost_is_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as caught:
        settings(tmp_path, STOCK + change)
    assert str(caught.value).startswith(f"{tmp_path / 'config.py'}: ")


def test_a_transformer_keeps_the_names_of_its_settings():
    with config_file(published()["detectron2/cascade_mask_rcnn_vitdet_l_100ep"]) as path:
        assert path is not None
        found = lazy_files.read(path)
    net = found["model"]["backbone"]["net"]
    assert (net["embed_dim"], net["depth"], net["drop_path_rate"], net["_target_"]) == (1024, 24, 0.4, "ViT")
    assert found["model"]["backbone"]["square_pad"] == 1024
    assert [m["thresholds"] for m in found["model"]["roi_heads"]["proposal_matchers"]] == [[0.5], [0.6], [0.7]]


def test_the_stock_files_are_plain_settings():
    known = json.loads(LAZY_CONFIGS.read_bytes())
    models = [name for name, values in known.items() if "model" in values]
    assert models == [f"common/models/{name}.py" for name in ("mask_rcnn_fpn", "mask_rcnn_vitdet", "cascade_rcnn")]
    for name in models:
        assert known[name]["model"]["proposal_generator"]["nms_thresh"] == 0.7
