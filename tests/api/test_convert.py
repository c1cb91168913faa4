"""Conversion of checkpoints to detectron2's format and back, from Python."""

import pytest
import torch

from cascade_rcnn import Category, UserError, convert_checkpoint, create_model, load, save, save_detectron2


@pytest.fixture
def detector():
    return create_model("cascade_rcnn_resnet18_fpn", 80, backbone_width=8, pyramid_channels=8, head_width=8)


def test_there_and_back(detector, tmp_path):
    save(detector, tmp_path / "ours.safetensors")
    save_detectron2(detector, tmp_path / "object.pth")
    save_detectron2(str(tmp_path / "ours.safetensors"), str(tmp_path / "file.pth"))
    weights = load(tmp_path / "ours.safetensors").state_dict()
    for name in ("object", "file"):
        back = convert_checkpoint(str(tmp_path / f"{name}.pth"), "detectron2")
        assert not back.training
        for key, value in back.state_dict().items():
            if not key.endswith(("num_batches_tracked", "mean", "std")):
                torch.testing.assert_close(value, weights[key])


def test_its_config_is_written_beside_it(detector, tmp_path, capsys):
    save_detectron2(detector, tmp_path / "theirs.pth")
    assert "theirs.yaml; use cfg.merge_from_file" in capsys.readouterr().err
    back = convert_checkpoint(tmp_path / "theirs.pth", "detectron2", config=tmp_path / "theirs.yaml").config
    assert back.preprocess.mean == pytest.approx(detector.config.preprocess.mean)
    assert (back.preprocess.bgr, back.roi_align) == (False, detector.config.roi_align)


def test_a_config_of_others_is_not_replaced(detector, tmp_path):
    (tmp_path / "theirs.yaml").write_text("mine: 1\n")
    with pytest.raises(UserError, match=r"theirs\.yaml: would be replaced, but was not written by this package"):
        save_detectron2(detector, tmp_path / "theirs.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.yaml"]
    for _ in range(2):
        save_detectron2(detector, tmp_path / "ours.pth")


def test_the_config_does_not_appear_without_the_weights(detector, tmp_path, monkeypatch):
    def full(*_):
        raise UserError("no space left")

    monkeypatch.setattr("cascade_rcnn.api.convert.save_state", full)
    with pytest.raises(UserError, match="no space left"):
        save_detectron2(detector, tmp_path / "theirs.pth")
    assert not list(tmp_path.iterdir())


def test_notes_are_reported_and_mistakes_are_one_line(detector, tmp_path, capsys):
    save_detectron2(detector, tmp_path / "theirs.pth")
    capsys.readouterr()
    convert_checkpoint(tmp_path / "theirs.pth", "detectron2")
    assert "note: " in capsys.readouterr().err
    with pytest.raises(UserError, match=r"detectron2 reads \.pth files"):
        save_detectron2(detector, tmp_path / "theirs.safetensors")
    with pytest.raises(UserError, match=r"theirs\.pth: would replace an input"):
        save_detectron2(tmp_path / "theirs.pth", tmp_path / "theirs.pth")
    with pytest.raises(UserError, match=r"source is Detector.*; give a path"):
        convert_checkpoint(detector, "detectron2")
    with pytest.raises(UserError, match="this looks like a detectron2"):
        convert_checkpoint(tmp_path / "theirs.pth", "mmdet")


def test_classes_that_the_checkpoint_does_not_name(tmp_path, capsys):
    file, dent = tmp_path / "theirs.pth", Category(id=7, name="dent")
    save_detectron2(create_model("faster_rcnn_resnet18_fpn", 2, backbone_width=8, head_width=8), file)
    capsys.readouterr()
    convert_checkpoint(file, "detectron2")
    assert (
        "set to 'class 1' to 'class 2'; `convert --annotations` (in Python, categories=...) names them"
        in capsys.readouterr().err
    )
    named = convert_checkpoint(file, "detectron2", categories=["scratch", dent])
    assert "class names" not in capsys.readouterr().err
    assert named.config.categories == (Category(id=1, name="scratch"), dent)
    with pytest.raises(UserError, match=r"theirs\.pth: has 2 classes, but 1 categories are given"):
        convert_checkpoint(file, "detectron2", categories=["scratch"])
