"""What surrounds the graph, in numpy, is what surrounds the detector in torch."""

import numpy as np
import pytest
import torch

from cascade_rcnn import UserError, create_model
from cascade_rcnn.config import Preprocess
from cascade_rcnn.runtime import Description, Runtime
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


def test_bgr_models_are_padded_with_their_mean_in_rgb():
    config = Preprocess(min_size=None, mean=(0.1, 0.2, 0.3), bgr=True)
    images, _ = prepare([np.zeros((96, 100, 3), np.uint8)], config, None)
    assert images[0, :, 0, -1].tolist() == pytest.approx([0.3 * 255, 0.2 * 255, 0.1 * 255])


def test_floating_point_pictures_are_0_to_1():
    image = pictures()[0]
    whole, _ = prepare([image], Preprocess(), None)
    fraction, _ = prepare([image.astype(np.float32) / 255], Preprocess(), None)
    np.testing.assert_allclose(whole, fraction, atol=1e-3)


def test_fitted_sizes_by_hand():
    config = Preprocess(min_size=(100,), max_size=150)
    assert fitted_size(200, 400, config, None) == (75, 150)
    assert fitted_size(200, 400, config, (96, 160)) == (75, 150)
    assert fitted_size(400, 200, config, (96, 160)) == (96, 48)  # upright, into a landscape input
    assert fitted_size(10, 5000, Preprocess(min_size=None), (96, 160)) == (1, 160)


def test_a_description_survives_json():
    config = create_model("cascade_rcnn_resnet18_fpn", 3).config
    for size in (None, (96, 128)):
        description = Description(config=config, precision="int8", size=size)
        assert Description.from_json(description.to_json(), "file") == description


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_are_not_ours_are_refused_in_one_line(tmp_path, suffix):
    path = tmp_path / f"file{suffix}"
    with pytest.raises(UserError, match="no such file"):
        Runtime(path)
    path.write_bytes(b"rubbish" * 100)
    with pytest.raises(UserError, match="not a readable exported model") as error:
        Runtime(path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="not an exported model"):
        Runtime(tmp_path / "file.txt")


def test_an_onnx_file_of_somebody_else_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    other = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [other])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "other.onnx")
    with pytest.raises(UserError, match="describes no model"):
        Runtime(tmp_path / "other.onnx")


def test_a_missing_engine_is_named_with_its_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(UserError, match="pip install onnxruntime"):
        open_session(tmp_path / "model.onnx")
