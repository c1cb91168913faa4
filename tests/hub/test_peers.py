"""Configs by the name of a published detector."""

from functools import partial

import pytest

from cascade_rcnn import convert_checkpoint, create_model, save_detectron2
from cascade_rcnn.errors import UserError
from cascade_rcnn.hub.peers import found_config, stock_settings
from cascade_rcnn.interop.mmdet_files import read


@pytest.fixture
def checkpoint(tmp_path):
    model = create_model("cascade_rcnn_resnet18_fpn", 80, backbone_width=8, pyramid_channels=8, head_width=8)
    save_detectron2(model, tmp_path / "model.pth")
    return tmp_path / "model.pth"


@pytest.mark.parametrize("name", ["cascade_mask_rcnn_R_50_FPN_3x", "detectron2/cascade_mask_rcnn_R_50_FPN_3x"])
def test_a_name_stands_for_the_settings(checkpoint, name):
    config = convert_checkpoint(checkpoint, "detectron2", config=name).config
    assert config.categories[0].name == "person"
    assert config.rpn.post_nms_train == 2000
    assert config.backbone.frozen_stages == 2


def test_a_name_that_does_not_exist_is_refused(checkpoint):
    message = "FPN_4x: neither a file nor the name of a published detector of detectron2; did you"
    with pytest.raises(UserError, match=message):
        convert_checkpoint(checkpoint, "detectron2", config="cascade_mask_rcnn_R_50_FPN_4x")
    with pytest.raises(UserError, match="neither a file nor"):
        convert_checkpoint(checkpoint, "detectron2", config="mmdet/cascade-rcnn_r50_fpn_1x_coco")


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cascade-rcnn_r50_fpn_1x_coco").touch()
    with found_config("cascade-rcnn_r50_fpn_1x_coco", "mmdet") as path:
        assert path.resolve() == tmp_path / "cascade-rcnn_r50_fpn_1x_coco"


def test_the_published_settings_are_read_as_a_config_that_builds_on_them(tmp_path):
    (tmp_path / "mine.py").write_text(
        "_base_ = '../cascade_rcnn/cascade_rcnn_r50_fpn_1x_coco.py'\nmodel = dict(backbone=dict(depth=101))"
    )
    expected = stock_settings("cascade-rcnn_r50_fpn_1x_coco", "mmdet")
    assert expected is not None
    expected["model"]["backbone"]["depth"] = 101
    found, notes = read(tmp_path / "mine.py", partial(stock_settings, origin="mmdet"))
    assert found == expected
    assert len(notes) == 1
