"""The numpy code around the graph equals the torch code around the detector."""

import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from cascade_rcnn import Predictor, UserError, create_model
from cascade_rcnn.cli import main
from cascade_rcnn.config import ModelConfig, PreprocessConfig
from cascade_rcnn.config.migrations import FORMAT
from cascade_rcnn.models.preprocess import Preprocess
from cascade_rcnn.runtime import Description, Runtime
from cascade_rcnn.runtime.description import KEY
from cascade_rcnn.runtime.runtime import fitted_size, prepare
from cascade_rcnn.runtime.sessions import SUFFIXES, open_session


def pictures() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, size, dtype=np.uint8) for size in ((120, 200, 3), (130, 90, 3))]


@pytest.mark.parametrize("min_size", [100, None])
def test_inputs_are_the_detectors_before_normalisation(min_size):
    model = create_model("faster_rcnn_resnet18_fpn", 1, min_size=min_size, max_size=160)
    batch = model.preprocess([torch.from_numpy(x).permute(2, 0, 1) for x in pictures()])
    images, sizes = prepare(pictures(), model.config.preprocess, None)
    assert sizes.tolist() == batch.sizes.tolist()
    normalised = (torch.from_numpy(images) - model.preprocess.mean) / model.preprocess.std
    torch.testing.assert_close(normalised, batch.pixels, rtol=1e-4, atol=1e-4)
    assert bool((normalised[0, :, int(sizes[0, 0]) :] == 0).all())  # padding is exactly the mean


def test_squares_are_the_detectors():
    config = PreprocessConfig(min_size=None, square=256)
    batch = Preprocess(config, 32)([torch.from_numpy(x).permute(2, 0, 1) for x in pictures()])
    images, _ = prepare(pictures(), config, None)
    assert images.shape == batch.pixels.shape == (2, 3, 256, 256)


def test_bgr_models_are_padded_with_their_mean_in_rgb():
    config = PreprocessConfig(min_size=None, mean=(0.1, 0.2, 0.3), bgr=True)
    images, _ = prepare([np.zeros((96, 100, 3), np.uint8)], config, None)
    assert images[0, :, 0, -1].tolist() == pytest.approx([0.3 * 255, 0.2 * 255, 0.1 * 255])


def test_floating_point_pictures_are_0_to_1():
    image = pictures()[0]
    whole, _ = prepare([image], PreprocessConfig(), None)
    fraction, _ = prepare([image.astype(np.float32) / 255], PreprocessConfig(), None)
    np.testing.assert_allclose(whole, fraction, atol=1e-3)


def test_fitted_sizes_by_hand():
    config = PreprocessConfig(min_size=(100,), max_size=150)
    assert fitted_size(200, 400, config, None) == (75, 150)
    assert fitted_size(200, 400, config, (96, 160)) == (75, 150)
    assert fitted_size(400, 200, config, (96, 160)) == (96, 48)  # a portrait image in a landscape input
    assert fitted_size(10, 5000, PreprocessConfig(min_size=None), (96, 160)) == (1, 160)


def test_a_description_survives_json():
    config = create_model("cascade_rcnn_resnet18_fpn", 3).config
    for size in (None, (96, 128)):
        description = Description(config=config, precision="int8", size=size)
        assert Description.from_json(description.to_json(), "file") == description


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".ONNX", ".XML", ".Pt2"])
def test_files_that_are_not_ours_are_refused_in_one_line(tmp_path, suffix):
    path = tmp_path / f"file{suffix}"
    with pytest.raises(UserError, match="no such file"):
        Runtime(path, trust=True)
    path.write_bytes(b"rubbish" * 100)
    path.with_suffix(".bin").touch()
    with pytest.raises(UserError, match="not a readable exported model") as error:
        Runtime(path, trust=True)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="not an exported model"):
        Runtime(tmp_path / "file.txt")
    with pytest.raises(UserError, match="path is None; give a path"):
        Runtime(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("suffix", "pointer"), [(".onnx", ".onnx"), (".xml", ".xml"), (".xml", ".bin")])
def test_a_pointer_of_git_lfs_is_named(tmp_path, suffix, pointer):
    for name in (".onnx", ".xml", ".bin"):
        (tmp_path / f"file{name}").write_text("rubbish")
    (tmp_path / f"file{pointer}").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UserError, match=rf"file\{pointer}: this is a pointer of Git LFS"):
        Runtime(tmp_path / f"file{suffix}")


@pytest.mark.parametrize(("threads", "message"), [(0, "threads is 0; give 1 or more"), ("2", "give a whole number")])
def test_an_engine_has_a_whole_number_of_threads(tmp_path, threads, message):
    with pytest.raises(UserError, match=message):
        Runtime(tmp_path / "model.onnx", threads=threads)


def test_descriptions_of_newer_versions_are_refused():
    newer = Description(config=ModelConfig()).to_json().replace(f'"format":{FORMAT}', '"format":99')
    with pytest.raises(UserError, match=r"m\.onnx: was written by a newer cascade-rcnn \(format 99"):
        Description.from_json(newer, "m.onnx")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("divisor", 0, "divisor is 0; give 1 to 1024"),
        ("size", [96, -32], "size is -32; give 1 to"),
        ("size", 96, "Expected `array"),
    ],
)
def test_descriptions_that_no_graph_has_are_refused(field, value, message):
    """As from files edited by hand."""
    given = json.loads(Description(config=ModelConfig()).to_json()) | {field: value}
    with pytest.raises(UserError, match=rf"m\.onnx: its description does not fit.*{message}"):
        Description.from_json(json.dumps(given), "m.onnx")


def test_a_class_that_the_description_does_not_name_is_one_line(monkeypatch):
    runtime, image = brightness(monkeypatch, None), np.zeros((96, 96, 3), np.uint8)
    boxes, scores, labels = runtime._run(*prepare([image], runtime.config.preprocess, None))
    monkeypatch.setattr(runtime, "_run", lambda *_: (boxes, scores, labels + 2))
    with pytest.raises(UserError, match=r"found an object of class 3, but its description names only 2 classes"):
        runtime(image, threshold=0.5)


def test_an_onnx_file_of_somebody_else_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    other = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [other])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "other.onnx")
    with pytest.raises(UserError, match="it has no description"):
        Runtime(tmp_path / "other.onnx")


def test_a_missing_engine_is_named_with_its_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(UserError, match="pip install onnxruntime"):
        open_session(tmp_path / "model.onnx")


class Marks:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a .pt2 file whose sample inputs are a pickle that writes the file `marker`."""

    class Graph(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images + 1

    good, evil = tmp_path / "good.pt2", tmp_path / "evil.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Graph(), (torch.zeros(2),))
        torch.export.save(program, good, extra_files={KEY: ""})
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            payload = source.read(name)
            target.writestr(name, pickle.dumps(Marks(tmp_path / "marker")) if "sample_inputs" in name else payload)
    return evil


def test_a_pt2_file_is_not_opened_without_trust(hostile, tmp_path, capsys):
    """It could run anything, since torch unpickles, evaluates and loads its contents."""
    openers = (lambda: Runtime(hostile), lambda: Predictor(hostile).config, lambda: open_session(hostile))
    for opener in openers:
        with pytest.raises(UserError, match=r"evil\.pt2: a \.pt2 file is a program.*--trust.*trust=True") as error:
            opener()
        assert "\n" not in str(error.value)
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "image.png")
    flags = ["--checkpoint", str(hostile), "--output", str(tmp_path / "out")]
    for command in (["predict", str(tmp_path / "image.png"), *flags], ["evaluate", "--annotations", "x.json", *flags]):
        with pytest.raises(SystemExit):
            main(command)
        assert "a .pt2 file is a program" in capsys.readouterr().err
    assert not (tmp_path / "marker").exists()


def test_the_danger_is_real(hostile, tmp_path):
    with pytest.raises(UserError, match="not a readable exported model"):
        open_session(hostile, trust=True)
    assert (tmp_path / "marker").exists()


def brightness(monkeypatch, size: tuple[int, int] | None) -> Runtime:
    """Return a runtime that finds, in each image, one object whose score is the brightness of its first pixel."""
    config = create_model("faster_rcnn_resnet18_fpn", 2, min_size=None).config

    def run(images: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, ...]:
        whole = np.concatenate([np.zeros_like(sizes), sizes[:, ::-1]], axis=1)[:, None]
        return whole, images[:, :1, 0, 0] / 255, np.ones((len(images), 1), np.int64)

    opened = (Description(config=config, size=size), run)
    monkeypatch.setattr("cascade_rcnn.runtime.runtime.open_session", lambda *_, **__: opened)
    return Runtime("model.onnx")


@pytest.mark.parametrize("size", [None, (96, 128)])
def test_arrays_of_every_dtype_and_shape_mean_the_same(monkeypatch, size):
    runtime = brightness(monkeypatch, size)
    grey = np.full((40, 60), 51, np.uint8)
    colour = np.stack([grey] * 3, axis=2)
    arrays = [colour, colour.astype(np.uint16) * 257, colour.astype(np.float64) / 255, grey, grey[..., None]]
    for found in [*runtime.detect(arrays), *runtime.detect(colour), *runtime.detect(np.stack([colour] * 2))]:
        assert found["scores"].tolist() == pytest.approx([0.2], abs=1e-4)
        assert found["boxes"].tolist() == [[0, 0, 60, 40]]
    assert len(runtime.detect(colour)) == 1
    assert runtime.detect([]) == []


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((40, 60, 3), np.int64), "has dtype int64; give uint8, uint16, or floating point"),
        (np.full((40, 60, 3), 200.0), "has values from 200 to 200; give 0..1"),
        (np.zeros((40, 60, 2), np.uint8), r"has shape \(40, 60, 2\)"),
    ],
)
def test_other_arrays_are_refused(monkeypatch, array, message):
    with pytest.raises(UserError, match=message):
        brightness(monkeypatch, None).detect([array])


@pytest.mark.parametrize(
    ("size", "images", "sizes"),
    [
        (None, np.zeros((1, 3, 112, 96), np.float32), [[96, 96]]),  # no multiple of 32
        (None, np.zeros((1, 3, 64, 96), np.float32), [[64, 96]]),
        (None, np.zeros((1, 3, 96, 96), np.float32), [[96, 97]]),
        (None, np.zeros((2, 3, 96, 96), np.float32), [[96, 96]]),
        (None, np.zeros((0, 3, 96, 96), np.float32), np.zeros((0, 2))),
        (None, np.zeros((1, 3, 96, 96)), [[96, 96]]),
        ((96, 128), np.zeros((1, 3, 96, 96), np.float32), [[96, 96]]),
        ((96, 128), np.zeros((2, 3, 96, 128), np.float32), [[96, 96]] * 2),
    ],
)
def test_inputs_that_the_graph_does_not_take_are_refused(monkeypatch, size, images, sizes):
    runtime = brightness(monkeypatch, size)
    with pytest.raises(UserError, match=r"images and sizes are \(.*\) of float(32|64) and .*; this graph takes"):
        runtime.run(images, np.array(sizes, np.float32))
    good = np.zeros((1, 3, 96, 128), np.float32)
    assert len(runtime.run(good, np.array([[90, 128]], np.float32))) == 3


def test_an_engine_that_fails_is_one_line(monkeypatch):
    """As with a file whose graph another tool has changed."""
    runtime, image = brightness(monkeypatch, None), np.zeros((96, 96, 3), np.uint8)
    monkeypatch.setattr(runtime, "_run", lambda *_: 1 / 0)
    with pytest.raises(UserError, match=r"model\.onnx: the engine failed \(division by zero\); if another tool"):
        runtime(image)
    monkeypatch.setattr(runtime, "_run", lambda *_: bytes(10**16))
    with pytest.raises(MemoryError):  # which commands report in a line of its own
        runtime(image)


def test_tiny_images_are_padded_to_multiples_of_the_divisor():
    images, sizes = prepare([np.zeros((10, 130, 3), np.uint8)], PreprocessConfig(min_size=None), None, divisor=64)
    assert images.shape == (1, 3, 128, 192)
    assert sizes.tolist() == [[10, 130]]


def test_a_forked_child_is_told_what_to_do(tmp_path, monkeypatch):
    """The engine's threads remain in the parent, so a child would wait for them forever."""
    description = Description(config=create_model("faster_rcnn_resnet18_fpn", 2, min_size=None).config)
    empty = (np.zeros((1, 0, 4), np.float32), np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int64))
    monkeypatch.setattr("cascade_rcnn.runtime.runtime.open_session", lambda *_, **__: (description, lambda *_: empty))
    runtime = Runtime(tmp_path / "model.onnx")
    assert len(runtime(pictures()[0])) == 0
    again = pickle.loads(pickle.dumps(runtime))
    assert (again.path, again.threads, again.trust) == (runtime.path, None, False)
    child = os.fork()
    if child == 0:
        try:
            runtime(pictures()[0])
        except UserError as error:
            os._exit(0 if "with 'spawn'" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
