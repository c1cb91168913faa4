from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cascade_rcnn import create_model
from cascade_rcnn.data.shapes import CLASSES
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import load, load_state, read, save, save_state
from cascade_rcnn.models.detector import Detector


@pytest.fixture
def detector() -> Detector:
    """An untrained detector that still says something about every image."""
    sizes = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "min_size": None}
    anchors = {"anchor_sizes": (8, 16, 32, 64, 128), "proposals": 40, "rois": 16, "score_threshold": 0.0}
    return create_model("cascade_rcnn_resnet18_fpn", categories=CLASSES, **sizes, **anchors).eval()


def test_a_loaded_detector_is_the_saved_one(detector, tmp_path):
    save(detector, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    image = torch.rand(3, 64, 80)
    with torch.inference_mode():
        before, after = detector([image])[0], again([image])[0]
    assert again.config == detector.config
    assert not again.training
    assert len(before["boxes"]) > 0
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_what_does_not_touch_the_weights_can_be_overridden(detector, tmp_path):
    save(detector, tmp_path / "model.safetensors")
    model = load(tmp_path / "model.safetensors", min_size=96, score_threshold=0.2, max_detections=3, test_stage=2)
    assert model.config.preprocess.min_size == (96,)
    assert (model.config.inference.max_detections, model.config.inference.stage) == (3, 2)
    with torch.inference_mode():
        assert len(model([torch.rand(3, 64, 64)])[0]["boxes"]) <= 3
    assert load(tmp_path / "model.safetensors", min_size=None).config.preprocess.min_size is None
    with pytest.raises(UserError, match="'head_width' cannot be changed"):
        load(tmp_path / "model.safetensors", head_width=8)
    with pytest.raises(UserError, match="stages 1 to 3"):
        load(tmp_path / "model.safetensors", test_stage=4)


def broken(kind: str, good: Path, folder: Path) -> Path:
    path = folder / f"{kind}.safetensors"
    match kind:
        case "truncated":
            path.write_bytes(good.read_bytes()[:-1000])
        case "text":
            path.write_text("not a checkpoint at all")
        case "foreign":
            save_file({"a": torch.zeros(1)}, path)
        case "mixed":  # one model's weights under another's config
            other = create_model("cascade_rcnn_resnet34_fpn", 4, backbone_width=8, pyramid_channels=8, head_width=16)
            save_file(read(good)[1], path, metadata={"cascade_rcnn": other.config.to_json()})
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such checkpoint"),
        ("truncated", "not a readable checkpoint"),
        ("text", "not a readable checkpoint"),
        ("foreign", "no cascade-rcnn config"),
        ("mixed", "do not fit its config"),
    ],
)
def test_a_bad_checkpoint_is_one_line_that_names_it(detector, tmp_path, kind, message):
    save(detector, tmp_path / "good.safetensors")
    path = broken(kind, tmp_path / "good.safetensors", tmp_path)
    with pytest.raises(UserError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_training_state_round_trip_and_corruption(tmp_path):
    save_state(tmp_path / "s.pt", {"position": {"step": 3}, "random": [{"cpu": torch.get_rng_state()}]})
    assert load_state(tmp_path / "s.pt")["position"] == {"step": 3}
    (tmp_path / "s.pt").write_bytes((tmp_path / "s.pt").read_bytes()[:50])
    with pytest.raises(UserError, match="not a readable training state"):
        load_state(tmp_path / "s.pt")
