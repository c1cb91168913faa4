import copy
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import DataParallel
from torch.optim.swa_utils import AveragedModel

from cascade_rcnn import create_model
from cascade_rcnn.data.shapes import CLASSES
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import load, read, save
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.fine_tuning import start_from


@pytest.fixture
def detector() -> Detector:
    """Return an untrained detector that still detects something in every image."""
    sizes = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "min_size": None}
    anchors = {"anchor_sizes": (8, 16, 32, 64, 128), "proposals": 40, "rois": 16, "score_threshold": 0.0}
    return create_model("cascade_rcnn_resnet18_fpn", categories=CLASSES, **sizes, **anchors).eval()


FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format1"


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


def picture() -> torch.Tensor:
    """Return three patterns of 72 x 90."""
    y, x = torch.meshgrid(torch.arange(72.0), torch.arange(90.0), indexing="ij")
    return torch.stack([(x * 7 + y * 3) % 256, (x * y / 9) % 256, ((x - 40) ** 2 + (y - 30) ** 2) % 256]) / 255


def test_a_checkpoint_of_format_1_finds_what_it_found():
    """It was written by the first version and must always load."""
    model = load(FORMAT_1 / "model.safetensors")
    assert model.class_names == ["crack", "Öse"]
    with torch.inference_mode():
        (found,) = model([picture()])
    expected = json.loads((FORMAT_1 / "detections.json").read_text())
    assert found["labels"].tolist() == expected["labels"]
    torch.testing.assert_close(found["scores"], torch.tensor(expected["scores"]), rtol=0, atol=1e-4)
    torch.testing.assert_close(found["boxes"], torch.tensor(expected["boxes"]), rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("3", r"was written by a newer cascade-rcnn \(format 3, this one reads up to 2\); update the package"),
        ("9" * 99, "newer"),
        ("new", "its format is 'new', which is not a number"),
        ("0", "its format is '0'"),
    ],
)
def test_other_formats_are_refused(tmp_path, written, message):
    config, state = read(FORMAT_1 / "model.safetensors")
    save_file(state, tmp_path / "m.safetensors", metadata={"cascade_rcnn": config.to_json(), "format": written})
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path / "m.safetensors")
    assert "\n" not in str(error.value)


def test_unknown_fields_and_impossible_values_of_the_config_are_refused(tmp_path):
    config, state = read(FORMAT_1 / "model.safetensors")
    for change, message in (
        ({"colour": 1}, "unknown field `colour`; if the checkpoint is from a newer version"),
        ({"inference": {"nms_iou": 5}}, "nms_iou is 5.0; give 0 to 1"),
        (
            {"rpn": {"anchors": {"sizes": [8, [16, 32]]}}},
            r"cannot build a model from its config \(an RPN shared",
        ),
    ):
        text = json.dumps(json.loads(config.to_json()) | change)
        save_file(state, tmp_path / "m.safetensors", metadata={"cascade_rcnn": text, "format": "2"})
        with pytest.raises(UserError, match=message) as error:
            load(tmp_path / "m.safetensors")
        assert str(error.value).startswith(str(tmp_path / "m.safetensors"))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rpn.conv.0.weight", lambda x: x.fill_(math.nan), r"rpn\.conv\.0\.weight holds values from nan"),
        ("rpn.conv.0.bias", lambda x: x.index_fill_(0, torch.tensor([1]), -math.inf), "holds values from -inf"),
        ("roi_heads.heads.2.fc1.weight", lambda x: x.mul_(1e30), "not weights"),
        ("backbone.bn1.running_var", lambda x: x.neg_(), r"is a variance and holds -1"),
        ("backbone.conv1.weight", lambda x: x.half(), r"holds torch\.float16, expected torch\.float32"),
        ("backbone.conv1.weight", lambda x: x.to(torch.int8), r"holds torch\.int8"),
        ("backbone.bn1.num_batches_tracked", lambda x: x.float(), r"holds torch\.float32, expected torch\.int64"),
    ],
)
def test_weights_that_are_none_are_refused(tmp_path, name, change, message):
    config, state = read(FORMAT_1 / "model.safetensors")
    state[name] = change(state[name].clone())
    save_file(state, tmp_path / "m.safetensors", metadata={"cascade_rcnn": config.to_json(), "format": "2"})
    for use in (load, lambda path: start_from(path, config.categories)):
        with pytest.raises(UserError, match=message) as error:
            use(tmp_path / "m.safetensors")
        assert str(error.value).startswith(str(tmp_path / "m.safetensors"))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_weights_that_would_not_load_are_not_saved(detector, tmp_path, value):
    path = tmp_path / "model.safetensors"
    save(detector, path)
    before = path.read_bytes()
    detector.roi_heads.heads[1].fc1.bias.data[3] = value
    with pytest.raises(UserError, match=r"not saved, as roi_heads\.heads\.1\.fc1\.bias holds .*lower the learning"):
        save(detector, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_with_other_modules_than_its_config_is_not_saved(detector, tmp_path):
    detector.roi_heads.heads[1].regressor = nn.Linear(16, 8)
    with pytest.raises(UserError, match=r"not saved, as its modules .*heads\.1\.regressor.* is \(8,\) where .* \(4,\)"):
        save(detector, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_model_folded_for_inference_is_not_saved(detector, tmp_path):
    with pytest.raises(UserError, match=r"not saved, as for_inference\(\) cannot be undone"):
        save(copy.deepcopy(detector).for_inference(), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())
    detector.predict([torch.rand(3, 32, 32)] * 2)  # folds a copy
    save(detector, tmp_path / "model.safetensors")


def test_a_model_in_half_precision_is_saved_so_that_it_loads(detector, tmp_path):
    save(copy.deepcopy(detector).half(), tmp_path / "model.safetensors")
    weight = load(tmp_path / "model.safetensors").backbone.conv1.weight
    assert torch.equal(weight, detector.backbone.conv1.weight.half().float())


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


@pytest.fixture
def other_defaults():
    """Set torch's defaults to float64 on the meta device."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


def test_torch_s_default_dtype_and_device_do_not_matter(detector, tmp_path, other_defaults):
    save(detector, tmp_path / "model.safetensors")
    model = load(tmp_path / "model.safetensors")
    assert all(value.device.type == "cpu" for value in model.state_dict().values())
    assert {value.dtype for value in (*model.parameters(), *model.buffers())} == {torch.float32, torch.int64}
    image = torch.zeros(3, 64, 80, device="cpu")
    found, expected = model.predict(image, threshold=0.0), detector.predict(image, threshold=0.0)
    assert len(found) > 0
    assert found.xyxy.tolist() == expected.xyxy.tolist()


def test_a_device_that_does_not_compute_is_refused(detector, tmp_path):
    save(detector, tmp_path / "model.safetensors")
    for device in ("bogus", "meta"):
        with pytest.raises(UserError, match=f"device {device}: cannot be used here"):
            load(tmp_path / "model.safetensors", device=device)


def broken(kind: str, good: Path, folder: Path) -> Path:
    path = folder / f"{kind}.safetensors"
    match kind:
        case "truncated":
            path.write_bytes(good.read_bytes()[:-1000])
        case "text":
            path.write_text("not a checkpoint at all")
        case "pointer":
            path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
        case "foreign":
            save_file({"a": torch.zeros(1)}, path)
        case "mixed":  # one model's weights under another's config
            other = create_model("cascade_rcnn_resnet34_fpn", 4, backbone_width=8, pyramid_channels=8, head_width=16)
            save_file(read(good)[1], path, metadata={"cascade_rcnn": other.config.to_json(), "format": "2"})
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such checkpoint"),
        ("truncated", "not a readable checkpoint"),
        ("text", "not a readable checkpoint"),
        ("pointer", "a pointer of Git LFS"),
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


@pytest.mark.parametrize(("name", "message"), [("a.pth", "load_state_dict"), ("a.onnx", "give the checkpoint")])
def test_files_of_other_kinds_are_named_as_such(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"PK\x03\x04" * 100)
    with pytest.raises(UserError, match=message):
        load(tmp_path / name)


def test_a_wrapped_detector_is_saved_as_itself(detector, tmp_path):
    weights = detector.state_dict()
    for number, wrapped in enumerate((torch.compile(detector), AveragedModel(detector), DataParallel(detector))):
        save(wrapped, tmp_path / f"{number}.safetensors")
        loaded = load(tmp_path / f"{number}.safetensors").state_dict()
        assert loaded.keys() == weights.keys()
        assert all(value.equal(weights[name]) for name, value in loaded.items())
    for wrong in (torch.nn.Linear(1, 1), "model.safetensors", None):
        with pytest.raises(
            UserError, match=f"a {type(wrong).__name__} cannot be saved; give a Detector, then the path"
        ):
            save(wrong, tmp_path / "wrong.safetensors")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="path is None; give a path"):
        save(detector, None)  # type: ignore[arg-type]


def test_a_detector_with_a_compiled_part_is_saved_as_without(detector, tmp_path):
    partly = copy.deepcopy(detector)
    partly.backbone = torch.compile(partly.backbone)
    save(partly, tmp_path / "partly.safetensors")
    loaded = load(tmp_path / "partly.safetensors").state_dict()
    assert loaded.keys() == detector.state_dict().keys()
    assert all(value.equal(detector.state_dict()[name]) for name, value in loaded.items())
