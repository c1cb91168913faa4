"""Exports detect what the detector detects, in every format, and only complete exports get their final name."""

import itertools
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace as replaced
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch.export import Dim, ExportedProgram
from torchvision.ops import roi_align

from cascade_rcnn import Predictor, UserError, export_model, load, predict_files, save
from cascade_rcnn.cli import main
from cascade_rcnn.config import ContextConfig, DeformableConfig, ModelConfig, MViTConfig, SwinConfig, ViTConfig, replace
from cascade_rcnn.data import load_annotations
from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.export import to_onnx, to_torch, triton
from cascade_rcnn.export.export import SUFFIX, Format, Request, _calibration, _fixed_size, export
from cascade_rcnn.export.graph import DetectionGraph, capture, quiet
from cascade_rcnn.export.quantize import quantize
from cascade_rcnn.models.build import build, build_backbone
from cascade_rcnn.models.weighted_sum import weighted_sum
from cascade_rcnn.nms import keep_mask
from cascade_rcnn.runtime import Description, Runtime

from .conftest import make

onnx, onnxruntime = (pytest.importorskip(name) for name in ("onnx", "onnxruntime"))
pytest.importorskip("onnxscript")
openvino = pytest.importorskip("openvino")


FIXED = (96, 128)  # an export for one size takes a third of the time


@pytest.fixture(scope="session")
def export_once(checkpoint, tmp_path_factory) -> Callable[..., Path]:
    """Export the cascade in one format, for one size or for any; captures and ONNX conversions happen once."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def captured(size: tuple[int, int] | None) -> ExportedProgram:
        return capture(DetectionGraph(load(checkpoint)), size)

    @cache
    def written(text: str) -> Path:
        description = Description.from_json(text, folder)
        path = folder / f"{description.size}.onnx"
        to_onnx.write(captured(description.size), description, path)
        return path

    @cache
    def exported(format_: Format, size: tuple[int, int] | None) -> Path:
        path = folder / str(size) / format_ / f"model{SUFFIX[format_]}"
        with pytest.MonkeyPatch.context() as patch:
            once = SimpleNamespace(write=lambda _, given, target: shutil.copy(written(given.to_json()), target))
            patch.setattr("cascade_rcnn.export.export.capture", lambda _, size: captured(size))
            patch.setattr("cascade_rcnn.export.to_onnx", once)
            report = export(checkpoint, path, Request(format=format_, dynamic=size is None, size=size))
        assert report.path == path
        assert report.difference.expected > 100
        assert report.difference.missing == 0
        assert report.difference.boxes < 0.01
        assert report.megabytes == pytest.approx(sum(p.stat().st_size for p in path.parent.rglob("*.*")) / 1e6)
        return path

    return exported


SIZES = [pytest.param(FIXED, id="one size"), pytest.param(None, id="any size", marks=pytest.mark.slow)]


@pytest.fixture(scope="session", params=SIZES)
def size(request) -> tuple[int, int] | None:
    """Return the size of images that an export is for; None stands for any."""
    return request.param


@pytest.fixture(scope="session", params=["onnx", "openvino", pytest.param("torch-export", marks=pytest.mark.slow)])
def exported(request, export_once, size) -> Path:
    """Return the export in each format in turn."""
    return export_once(request.param, size)


@pytest.fixture(scope="session")
def runtime(exported) -> Runtime:
    return Runtime(exported, trust=True)


def agree(found, expected) -> None:
    assert len(found["boxes"]) == len(expected["boxes"]) > 0
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=0.01)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    assert found["labels"].tolist() == expected["labels"].tolist()


def test_the_runtime_finds_what_the_model_finds(runtime, checkpoint, scene):
    images = [scene(96, 128), scene(300, 400)]  # they fill an input of one size, too
    if runtime.description.size is None:
        images += [scene(150, 100), scene(300, 500)]
    with torch.inference_mode():
        expected = load(checkpoint)([torch.from_numpy(x).permute(2, 0, 1) for x in images])
    for found, one in zip(runtime.detect(images), expected, strict=True):
        agree(found, {name: value.numpy() for name, value in one.items()})
    same = load(checkpoint).predict(images, threshold=0.1, batch_size=3)
    for found, one in zip(runtime(images, threshold=0.1, batch_size=3), same, strict=True):
        np.testing.assert_allclose(found.xyxy, one.xyxy, atol=0.01)
        assert found.class_id.tolist() == one.class_id.tolist()
        assert found.data["class_name"].tolist() == one.data["class_name"].tolist()


def test_a_predictor_takes_it_as_it_takes_a_checkpoint(exported, checkpoint, scene, tmp_path):
    image = torch.from_numpy(scene(120, 160)).permute(2, 0, 1)
    predictor = Predictor(exported, trust=True)
    agree(predictor.detect([image])[0], Predictor(checkpoint, device="cpu").detect([image])[0])
    assert predictor.config == load(checkpoint).config
    with pytest.raises(UserError, match="min_size cannot be set for an exported file; omit it, or"):
        Predictor(exported, min_size=200)
    with pytest.raises(UserError, match=r"tta_scales: .* is an exported file"):
        predictor([image], tta_scales=[0.5])
    PIL.Image.fromarray(scene(120, 160)).save(tmp_path / "image.png")
    with pytest.raises(UserError, match=r"tta_scales: .* is an exported file"):  # before anything is written
        predict_files(predictor, [tmp_path / "image.png"], output=tmp_path / "out", tta_scales=[0.5])
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_refused_in_one_line(exported, tmp_path):
    for size in (0, 100, exported.stat().st_size // 2):
        broken = tmp_path / f"broken{exported.suffix}"
        broken.with_suffix(".bin").touch()
        broken.write_bytes(exported.read_bytes()[:size])
        with pytest.raises(UserError, match=r"broken.*not a readable exported model|broken.*not exported by") as error:
            Runtime(broken, trust=True)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("images", "number", "chosen"), [(7, 4, [0, 1, 3, 5]), (3, 8, [0, 1, 2]), (8, 2, [0, 4])])
def test_calibration_takes_images_from_the_whole_set(images, number, chosen):
    truth = type("Images", (), {"path": lambda _, k: k, "__len__": lambda _: images})()
    assert _calibration(Request(calibration=number, validation=truth)) == chosen


def test_openvino_files_need_their_own_weights(export_once, tmp_path):
    exported = export_once("openvino", FIXED)
    copy, weights = Path(shutil.copy(exported, tmp_path)), exported.with_suffix(".bin").read_bytes()
    with pytest.raises(UserError, match=r"model\.xml: its weights are missing; put model\.bin beside it"):
        Runtime(copy)
    other = bytearray(weights)
    other[len(other) // 2] ^= 1
    copy.with_suffix(".bin").write_bytes(other)
    with pytest.raises(UserError, match=r"model\.bin beside it has the weights of another export"):
        Runtime(copy)


def test_threads_share_a_runtime(runtime, scene):
    images = [scene(96, 128), scene(150, 100)] * 4
    alone = [len(runtime.detect(image)[0]["boxes"]) for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert [len(one[0]["boxes"]) for one in pool.map(runtime.detect, images)] == alone


def test_no_path_of_this_machine_is_in_the_file(exported):
    text = exported.read_bytes()
    if exported.suffix != ".pt2":  # torch stores its stack traces there
        assert str(Path(__file__).parents[2]).encode() not in text
        assert b"site-packages" not in text


@pytest.mark.parametrize("format_", ["onnx", "openvino"])
def test_no_torch_is_imported(export_once, size, tmp_path, scene, format_):
    path = export_once(format_, size)
    np.save(tmp_path / "image.npy", scene(96, 128))
    program = (
        "import sys; sys.modules['torch'] = None; sys.modules['torchvision'] = None\n"
        "import numpy; from cascade_rcnn.runtime import Runtime\n"
        f"found = Runtime({str(path)!r})([numpy.load({str(tmp_path / 'image.npy')!r})], threshold=0.0)\n"
        "print(len(found[0]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_a_picture_without_detections(runtime):
    found = runtime.run(np.zeros((1, 3, *FIXED), np.float32), np.zeros((1, 2), np.float32))
    assert [x.shape[0] for x in found] == [1, 1, 1]
    assert not found[2].any()
    assert not found[0].any()


@pytest.mark.parametrize(("wanted", "taken"), [((96, 128), FIXED), ((90, 100), FIXED), ((97, 128), (128, 128))])
def test_a_fixed_size_is_of_whole_cells(checkpoint, wanted, taken):
    assert _fixed_size(load(checkpoint), wanted) == taken  # multiples of 32


def test_a_fixed_input_takes_images_that_fit_and_shrinks_others(export_once, scene):
    runtime = Runtime(export_once("onnx", FIXED))
    assert runtime.description.size == FIXED
    found = runtime.detect([scene(96, 128), scene(200, 100)])
    for one, (height, width) in zip(found, ((96, 128), (200, 100)), strict=True):
        assert len(one["boxes"]) > 0
        assert (one["boxes"] <= [width, height, width, height]).all()
        assert one["boxes"][:, 2].max() > width / 2


@torch.inference_mode()
def test_a_capture_for_any_size_detects_the_same_in_batches_of_another(single):
    graph = DetectionGraph(load(single))
    captured = capture(graph, None).module(check_guards=False)
    images, sizes = torch.rand(3, 3, 96, 160) * 255, torch.tensor([[96.0, 160], [80, 150], [96, 97]])
    for found, expected in zip(captured(images, sizes), graph(images, sizes), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


class ThreeBoxes(torch.nn.Module):
    """A graph with a detector's inputs, outputs and operators that is exported in a second."""

    detector = SimpleNamespace(preprocess=SimpleNamespace(divisor=32))

    def forward(self, images: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Find the whole image, the same without its last row, and a corner, with scores by the image's brightness."""
        height, width = sizes.split(1, dim=1)
        zero, nine = torch.zeros_like(height), torch.full_like(height, 9)
        ends = [(width, height), (width, height - 1), (nine, nine)]
        boxes = torch.stack([torch.cat([zero, zero, *end], dim=1) for end in ends], dim=1)
        bright = images.mean(dim=(1, 2, 3))[:, None] / 255
        scores = weighted_sum(torch.arange(images.shape[0])[:, None], bright, torch.ones_like(bright))
        scores = scores * torch.tensor([1, 0.5, 0.25])
        kept = keep_mask(boxes, scores, torch.zeros_like(scores, dtype=torch.int64), scores > 0, 0.5)
        return boxes, scores, kept.long()


@pytest.fixture(scope="module")
def three_boxes(tmp_path_factory) -> Callable[[str], Path]:
    """Export the graph of three boxes for images of any size."""
    program, folder = capture(ThreeBoxes(), None), tmp_path_factory.mktemp("three")

    @cache
    def write(suffix: str) -> Path:
        module = {".onnx": to_onnx, ".pt2": to_torch}[suffix]
        module.write(program, Description(config=ModelConfig()), folder / f"model{suffix}")
        return folder / f"model{suffix}"

    return write


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_the_operators_of_a_detector_in_images_of_any_size(three_boxes, suffix, tmp_path):
    images = np.ones((3, 3, 96, 160), np.float32) * np.array([0, 102, 255], np.float32)[:, None, None, None]
    capital = shutil.copy(three_boxes(suffix), tmp_path / f"MODEL{suffix.upper()}")
    boxes, scores, labels = Runtime(capital, trust=True).run(images, np.float32([[96, 160], [80, 160]] * 2)[:3])
    np.testing.assert_allclose(scores, [[0, 0, 0], [0.4, 0.2, 0.1], [1, 0.5, 0.25]], atol=1e-6)
    assert labels.tolist() == [[0, 0, 0], [1, 0, 1], [1, 0, 1]]
    assert boxes[1].tolist() == [[0, 0, 160, 80], [0, 0, 160, 79], [0, 0, 9, 9]]


class Pooling(torch.nn.Module):
    """Pooling with an adaptive grid, as in converted detectors of detectron2 and mmdetection."""

    def forward(self, images: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """Pool 2 x 2 bins of each row of `sizes`: image, then box."""
        return roi_align(images, sizes, 2, 0.25, 0, aligned=True)


def test_engines_pool_boxes_as_torchvision_does_even_empty_ones(tmp_path):
    boxes = [[4, 4, 40, 28], [0, 0, 0, 0], [8, 8, 8, 30], [12, 9, 3, 2]]
    given = torch.rand(1, 3, 16, 16), torch.tensor([[0, *box] for box in boxes], dtype=torch.float32)
    program = torch.export.export(Pooling(), given)
    path, names = tmp_path / "pooling.onnx", ["images", "sizes"]
    table = to_onnx._TRANSLATIONS
    with quiet():
        torch.onnx.export(
            program, f=path, opset_version=18, custom_translation_table=table, input_names=names, optimize=False
        )
    feed = dict(zip(names, (x.numpy() for x in given), strict=True))
    expected = roi_align(*given, 2, 0.25, 0, aligned=True)
    assert expected[0].min() > 0
    assert expected[1:].count_nonzero() == 0
    by_onnx = onnxruntime.InferenceSession(path).run(None, feed)[0]
    by_openvino = openvino.Core().compile_model(openvino.convert_model(path), "CPU")(feed)[0]
    for found in (by_onnx, by_openvino):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["onnx", "openvino", "torch-export"])
def test_half_precision_is_smaller_and_close(checkpoint, tmp_path, format_):
    sizes = {}
    for precision in ("fp32", "fp16"):
        path = tmp_path / f"{precision}{SUFFIX[format_]}"
        sizes[precision] = export(
            checkpoint, path, Request(format=format_, precision=precision, size=(96, 128))
        ).megabytes
    assert sizes["fp32"] - sizes["fp16"] > 0.4  # 0.26 million weights, plus the graph


@pytest.mark.slow
def test_int8_is_calibrated_and_reports_its_ap(checkpoint, tmp_path, monkeypatch):
    val = load_annotations(write_shapes(tmp_path / "shapes", train=1, val=4, size=96) / "val.json")
    path = tmp_path / "model.onnx"
    request = Request(precision="int8", validation=val, calibration=2, size=(96, 96), max_drop=1.0)
    report = export(checkpoint, path, request)
    assert report.ap is not None
    assert all(0 <= ap <= 1 for ap in report.ap)
    assert Runtime(path).description.precision == "int8"
    assert _quantized_layers(path) == {
        *("backbone", "pyramid", "rpn.conv"),
        *(f"roi_heads.heads.{t}.fc{k}" for t in (0, 1) for k in (1, 2)),
    }
    ap = iter([0.5, 0.3])  # of the checkpoint and of the export
    monkeypatch.setattr(
        "cascade_rcnn.export.accuracy.evaluate_detected", lambda *_: SimpleNamespace(ap=next(ap), masks=None)
    )
    with pytest.raises(UserError, match=r"int8 loses 0\.200 of AP 0\.500, .* nothing was written"):
        export(checkpoint, tmp_path / "worse.onnx", replaced(request, max_drop=0.1))
    assert not (tmp_path / "worse.onnx").exists()


def fake_nncf(quantize: Callable[..., Any]) -> Any:
    return SimpleNamespace(
        set_log_level=lambda _: None,
        Dataset=list,
        quantize=quantize,
        QuantizationPreset=SimpleNamespace(MIXED="mixed"),
        IgnoredScope=lambda **_: None,
    )


def test_int8_is_calibrated_on_all_the_images_it_is_given(three_boxes, tmp_path, monkeypatch):
    """By itself, nncf takes the first 300, which leaves out the end of a set."""
    given = {}
    nncf = fake_nncf(lambda model, dataset, **options: given.update(options, dataset=dataset) or model)
    monkeypatch.setitem(sys.modules, "nncf", nncf)
    image = np.zeros((1, 3, 32, 32), np.float32), np.full((1, 2), 32, np.float32)
    quantize(three_boxes(".onnx"), [image] * 400, 400, tmp_path / "int8.onnx")
    assert (len(given["dataset"]), given["subset_size"]) == (400, 400)


def test_cast_weights_are_constants_for_nncf(tmp_path, monkeypatch):
    """Swin's masks of windows are stored as bool and cast; nncf fails on casts of initializers."""
    reference = pytest.importorskip("onnx.reference")
    mask = onnx.helper.make_tensor("mask", onnx.TensorProto.BOOL, [2], [True, False])
    other = onnx.helper.make_tensor("other", onnx.TensorProto.FLOAT, [2], [3, 4])
    nodes = [
        onnx.helper.make_node("Cast", ["mask"], ["numbers"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Add", ["numbers", "other"], ["sum"]),
    ]
    result = onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, [2])
    graph = onnx.helper.make_graph(nodes, "g", [], [result], [mask, other])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "nncf", fake_nncf(lambda model, *_, **__: model))
    quantize(tmp_path / "a.onnx", [], 0, tmp_path / "b.onnx")
    model = onnx.load(tmp_path / "b.onnx")
    onnx.checker.check_model(model)
    assert [weight.name for weight in model.graph.initializer] == ["other"]
    assert reference.ReferenceEvaluator(model).run(None, {})[0].tolist() == [4, 4]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"annotations": []}, "val.json: has no objects to measure the AP of int8 on"),
        ({"categories": [{"id": 1, "name": "cat"}]}, "the model has 4 classes and .* has 1"),
    ],
)
def test_annotations_that_cannot_judge_int8_are_refused_before_the_work(
    checkpoint, tmp_path, monkeypatch, changed, message
):
    monkeypatch.setattr("cascade_rcnn.export.export._write", lambda *_: pytest.fail("too late"))
    truth = write_shapes(tmp_path, train=1, val=1, size=96) / "val.json"
    kept = {"annotations": []} | changed
    truth.write_text(json.dumps(json.loads(truth.read_text()) | kept))
    with pytest.raises(UserError, match=message):
        export(checkpoint, tmp_path / "a.onnx", Request(precision="int8", validation=load_annotations(truth)))


def test_unusable_images_are_left_out_of_the_annotations(checkpoint, tmp_path, monkeypatch):
    truth = write_shapes(tmp_path, train=1, val=3, size=96) / "val.json"
    (tmp_path / "images" / "val" / "000002.png").write_bytes(b"no image")
    taken = []
    monkeypatch.setattr("cascade_rcnn.api.export.export", lambda *given: taken.extend(given[2].validation.file_names))
    with pytest.raises(UserError, match=r"1 of 3 images cannot be used: .*000002\.png"):
        export_model(checkpoint, tmp_path / "a.onnx", annotations=truth)
    export_model(checkpoint, tmp_path / "a.onnx", annotations=truth, bad_images="skip")
    assert taken == ["val/000001.png", "val/000003.png"]


def _quantized_layers(path: Path) -> set[str]:
    """Return the parts of the detector whose weights an .onnx file stores as int8."""
    graph = onnx.load(path).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    found = set()
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and made_by.get(node.input[1]) == "DequantizeLinear":
            scope = next(p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes")
            part = re.search(r"'detector\.(backbone|pyramid|rpn\.\w+|roi_heads\.heads\.\d+\.\w+)\b", scope)
            found.add(part[1] if part else scope)
    return found


@pytest.fixture
def writes_the_same(export_once, monkeypatch) -> None:
    """Make every export write the same file, whatever the model."""
    same = export_once("onnx", FIXED)
    monkeypatch.setattr("cascade_rcnn.export.export._write", lambda *given: shutil.copy(same, given[-1]))


@pytest.mark.usefixtures("writes_the_same")
def test_an_export_that_differs_is_refused_and_leaves_nothing(tmp_path):
    model = make("faster_rcnn_resnet18_fpn")
    model.rpn.deltas.weight.data.add_(0.1)
    save(model, tmp_path / "other.safetensors")
    output = tmp_path / "exported" / "model.onnx"
    output.parent.mkdir()
    output.write_text("the old one")
    with pytest.raises(UserError, match="detections differ from the model's"):
        export(tmp_path / "other.safetensors", output, Request(size=FIXED))
    assert [p.name for p in output.parent.iterdir()] == ["model.onnx"]
    assert output.read_text() == "the old one"


@pytest.mark.parametrize(
    ("request_", "name", "message"),
    [
        (Request(format="openvino"), "model.onnx", r"format openvino end in \.xml"),
        (Request(dynamic=True, size=(96, 96)), "model.onnx", "leave out --size, or --dynamic"),
        (Request(precision="int8"), "model.onnx", "give --annotations"),
        (Request(format="torch-export", precision="int8"), "model.pt2", "only supported in onnx and openvino"),
        (Request(calibration=0), "model.onnx", "calibration is 0; give 1 or more"),
        (Request(max_drop=math.nan), "model.onnx", "max_drop is nan; give 0 to 1"),
        (Request(size=(0, 96)), "model.onnx", "give the height and width in pixels"),
        (Request(images=(Path("none.jpg"),)), "model.onnx", "none.jpg: no such image"),
        (Request(), "file/model.onnx", "file/model.onnx: cannot be written"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_at_once(checkpoint, tmp_path, request_, name, message):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=message):
        export(checkpoint, tmp_path / name, request_)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 640}, "size is 640: Expected `list`, got `int`"),
        ({"size": (640,)}, "size is .*: Expected `list` of length 2"),
        ({"size": (96.5, 96)}, "size is .*: Expected `int`, got `float`"),
        ({"images": "photo.jpg"}, r"images is 'photo.jpg'; give a list, such as \['photo.jpg'\]"),
        ({"split": "val"}, "split can only be given with the path of an annotation file; omit it"),
    ],
)
def test_options_of_another_kind_are_refused(checkpoint, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        export_model(checkpoint, tmp_path / "model.onnx", **options)


def test_flags_of_int8_are_refused_without_it(capsys):
    with pytest.raises(SystemExit):
        main(["export", "starter", "--precision", "fp16", "--max-drop", "0.01"])
    assert capsys.readouterr().err == "error: --max-drop: no effect with --precision fp16; leave it out\n"


def test_a_model_in_the_place_of_its_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"checkpoint is Detector.*; give a path"):
        export_model(load("starter"), tmp_path / "model.onnx")


def test_no_file_of_an_export_replaces_the_checkpoint(checkpoint, tmp_path):
    for name, format_ in (("m.onnx", "onnx"), ("m.bin", "openvino")):
        path = tmp_path / name
        shutil.copy(checkpoint, path)
        with pytest.raises(UserError, match=f"{name}: would replace an input"):
            export_model(path, tmp_path / f"m{SUFFIX[format_]}", format=format_)
    with pytest.raises(UserError, match="output is ''; give a path"):
        export_model(checkpoint, "", format="openvino")
    (tmp_path / "exported.ONNX").write_bytes(b"rubbish" * 100)
    with pytest.raises(UserError, match=r"exported\.ONNX: is an exported file.*; give the checkpoint"):
        export_model(tmp_path / "exported.ONNX")


def test_a_model_that_finds_nothing_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("cascade_rcnn.export.export._write", lambda *_: pytest.fail("too late"))
    model = make("faster_rcnn_resnet18_fpn")
    model.roi_heads.heads[0].classifier.bias.data[0] = 50  # background everywhere
    save(model, tmp_path / "blind.safetensors")
    with pytest.raises(UserError, match="detects nothing in the images to verify on"):
        export(tmp_path / "blind.safetensors", tmp_path / "blind.onnx", Request(size=FIXED))


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["onnx", "openvino", "torch-export"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("faster_rcnn_resnet18_fpn", {"class_agnostic": False}),
        ("cascade_rcnn_resnet50_fpn", {"semantics": "paper"}),
        ("cascade_rcnn_resnet18_fpn", {"semantics": "mmdet", "class_agnostic": False}),
        ("cascade_rcnn_resnet18_fpn", {"stages": 4, "test_stage": 2}),
        ("iterative_bbox_resnet18_fpn", {}),
        ("integral_loss_resnet18_fpn", {}),
        ("faster_rcnn_vgg16", {}),
        ("cascade_rcnn_vgg16", {}),
        ("rfcn_resnet18", {"class_agnostic": False}),
        ("cascade_rfcn_resnet18", {}),
        ("cascade_mask_rcnn_resnet18_fpn", {"semantics": "mmdet", "mask_channels": 8}),
        ("cascade_rcnn_swin_t_fpn", {}),
        ("cascade_rcnn_convnext_tiny_fpn", {}),
        ("faster_rcnn_regnet_x_800mf_fpn", {}),
        ("faster_rcnn_res2net101_fpn", {}),
        ("faster_rcnn_mvitv2_t_fpn", {}),
        ("faster_rcnn_vit_b", {}),
    ],
)
def test_every_architecture(name, options, format_, tmp_path):
    if "mvitv2" in name and format_ != "onnx":
        pytest.skip("did not end within minutes on two busy cores; a smaller one is compared for one size")
    save(make(name, **options), tmp_path / "model.safetensors")
    report = export(
        tmp_path / "model.safetensors",
        tmp_path / f"model{SUFFIX[format_]}",
        Request(format=format_, dynamic=True),
    )
    assert report.difference.expected > 0


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_runtime_pastes_the_models_masks(precision, tmp_path, scene):
    model = make("cascade_mask_rcnn_resnet18_fpn", semantics="mmdet", mask_channels=8)
    with torch.no_grad():
        for head in model.tasks[0].heads:  # type: ignore[union-attr]
            head.predictor.weight.normal_(std=30.0)  # so that masks have edges
    save(model, tmp_path / "model.safetensors")
    report = export(tmp_path / "model.safetensors", tmp_path / "model.onnx", Request(dynamic=True, precision=precision))
    assert report.difference.masks is not None
    assert report.difference.masks < (1e-4 if precision == "fp32" else 0.05)
    images = [scene(96, 128), scene(150, 100)]
    runtime = Runtime(tmp_path / "model.onnx")
    assert runtime.run(np.zeros((1, 3, 96, 96), np.float32), np.full((1, 2), 96, np.float32))[3].shape == (
        1,
        100,
        28,
        28,
    )
    for image, found, expected in zip(images, runtime(images, 0.1), model.predict(images, 0.1), strict=True):
        assert found.mask.shape == (len(found), *image.shape[:2])
        if precision == "fp32":
            assert 0.05 < expected.mask.mean() < 0.95
            assert (found.mask != expected.mask).mean() < 1e-3


def test_the_command_line_exports_and_predicts(checkpoint, export_once, tmp_path, scene, capsys):
    exported = export_once("onnx", FIXED)
    PIL.Image.fromarray(scene(96, 128)).save(tmp_path / "scene.png")
    main(["predict", str(tmp_path / "scene.png"), "--checkpoint", str(exported), "--trust",
          "--output", str(tmp_path / "found")])  # fmt: skip
    rows = json.loads((tmp_path / "found" / "detections.json").read_text())
    assert len(rows) > 0
    assert {row["file_name"] for row in rows} == {"scene.png"}
    assert (tmp_path / "found" / "pictures" / "scene.png").is_file()
    with pytest.raises(SystemExit):
        main(["export", str(checkpoint), "--precision", "int8"])
    assert "give --annotations" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [
    ViTConfig(width=16, depth=3, heads=2, window=3, global_blocks=(1,), grid=6, pretrained_grid=4),
    SwinConfig(width=8, depths=(1, 2, 1, 1), heads=1),
    MViTConfig(width=8, depths=(1, 2, 2, 1), window=8, grid=16),
])  # fmt: skip
@torch.no_grad()
def test_windows_of_attention_fit_images_of_any_size(backbone, tmp_path):
    """One capture serves maps smaller than a window, of whole windows, and of partial ones."""
    network = build_backbone(backbone).eval()
    for name, parameter in network.named_parameters():
        if re.search("rel_pos|pos_embed|relative_position", name):
            torch.nn.init.normal_(parameter, std=0.3)
    stride = network.strides[-1]
    sides = {2: stride * Dim("height", min=1), 3: stride * Dim("width", min=1)}
    example = (torch.zeros(2, 3, 17 * stride, 19 * stride),)
    torch.export.save(torch.export.export(network, example, dynamic_shapes=({0: Dim("batch", min=1), **sides},)),
                      tmp_path / "network.pt2")  # fmt: skip
    captured = torch.export.load(tmp_path / "network.pt2").module(check_guards=False)
    for batch, height, width in itertools.product((1, 2), (1, 2, 3, 6, 7, 8, 14), (1, 5, 7, 9)):
        pixels = torch.randn(batch, 3, height * stride, width * stride)
        torch.testing.assert_close(captured(pixels), network(pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["onnx", "openvino", "torch-export"])
def test_deformable_convolutions_and_context(tmp_path, format_):
    """Two groups of offsets with masks, which move every tap, and a context that contributes."""
    plain = make("faster_rcnn_resnet50_dcnv2_fpn").config
    moving = DeformableConfig(modulated=True, groups=2, layers=(4,))
    backbone = replace(plain.backbone, deformable=moving, context=ContextConfig(layers=(4,)))
    model = build(replace(plain, backbone=backbone)).eval()
    for name, parameter in model.named_parameters():
        if ".offset." in name or ".context." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    save(model, tmp_path / "model.safetensors")
    output = tmp_path / f"exported{SUFFIX[format_]}"
    report = export(tmp_path / "model.safetensors", output, Request(format=format_, dynamic=True))
    assert report.difference.expected > 100
    assert report.difference.missing == 0
    assert report.difference.boxes < 0.01


@pytest.mark.parametrize("file", ["three boxes", pytest.param("detector", marks=pytest.mark.slow)])
def test_onnx_dimensions_have_names(three_boxes, export_once, file):
    model = onnx.load(three_boxes(".onnx") if file == "three boxes" else export_once("onnx", None))
    images, sizes = (
        [dim.dim_param or dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in model.graph.input
    )
    assert images == ["batch", 3, "height", "width"]
    assert sizes == ["batch", 2]
    for value in model.graph.output:
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert (model.domain, model.model_version, model.opset_import[0].version) == ("cascade_rcnn", 1, 18)


def triton_config(text: str):
    """Parse a config with Triton's own schema."""
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    return text_format.Parse(text, schema.ModelConfig())


def test_a_triton_folder_describes_its_graph(export_once, size, scene):
    folder = export_once("triton", size)
    file = folder / "1" / "model.onnx"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "1/model.onnx",
        "config.pbtxt",
    ]
    config = triton_config((folder / "config.pbtxt").read_text())
    assert (config.name, config.backend) == (folder.name, "onnxruntime")
    graph = onnx.load(file).graph
    for entries, values in ((config.input, graph.input), (config.output, graph.output)):
        assert [entry.name for entry in entries] == [value.name for value in values]
        for entry, value in zip(entries, values, strict=True):
            dims = [dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim]
            assert list(entry.dims) == (dims if size else dims[1:])
    assert [entry.data_type for entry in config.output] == [11, 11, 9]  # TYPE_FP32, TYPE_INT64
    picture = scene(96, 128)
    found, expected = (Runtime(path).detect([picture])[0] for path in (file, export_once("onnx", size)))
    agree(found, expected)
    with pytest.raises(UserError, match="already exists; choose another output"):
        export(Path("starter"), folder, Request(format="triton"))


def test_triton_batches_images_of_any_size_and_not_those_of_one(export_once, three_boxes):
    one, any_ = (
        triton_config(triton.config("name", file)) for file in (export_once("onnx", FIXED), three_boxes(".onnx"))
    )
    assert (one.max_batch_size, any_.max_batch_size) == (0, 8)
    assert not one.HasField("dynamic_batching")
    assert any_.dynamic_batching.max_queue_delay_microseconds > 0
    assert [list(entry.dims) for entry in one.input] == [[1, 3, *FIXED], [1, 2]]
    assert [list(entry.dims) for entry in any_.input] == [[3, -1, -1], [2]]
    assert [next(iter(entry.dims)) for entry in one.output] == [1, 1, 1]


def test_a_format_that_does_not_exist_is_one_line():
    with pytest.raises(UserError, match=r"format is 'onx'; did you mean 'onnx'\?; give onnx, torch-export"):
        export_model("starter", format="onx")  # pyright: ignore[reportArgumentType]
