"""Export a checkpoint: capture its graph, write it to a temporary file, verify that, and rename it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from cascade_rcnn.arguments import check_choice, check_number
from cascade_rcnn.data import Annotations
from cascade_rcnn.data.shapes import draw
from cascade_rcnn.errors import UserError
from cascade_rcnn.export import to_torch
from cascade_rcnn.export.accuracy import average_precision, check_drop, measure
from cascade_rcnn.export.graph import DetectionGraph, capture
from cascade_rcnn.export.triton import config, model_file
from cascade_rcnn.export.verify import TOLERANCES, Difference, expect, verify
from cascade_rcnn.extras import needs
from cascade_rcnn.files import folder_aside
from cascade_rcnn.images.decoding import decode_image
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.runtime import Description, Runtime
from cascade_rcnn.runtime.description import ExportPrecision
from cascade_rcnn.runtime.runtime import least, prepare

Format = Literal["onnx", "torch-export", "openvino", "triton"]
SUFFIX: dict[Format, str] = {"onnx": ".onnx", "torch-export": ".pt2", "openvino": ".xml", "triton": ""}  # a folder


@dataclass(frozen=True, kw_only=True)
class Request:
    """The format and options of an export, and the images to verify it on."""

    format: Format = "onnx"
    precision: ExportPrecision = "fp32"
    dynamic: bool = False  # any batch size, height and width; otherwise one image, fitted into `size`
    size: tuple[int, int] | None = None  # (height, width); default: the model's short and long side
    images: tuple[Path, ...] = ()  # to verify on; default: a photo and two generated scenes
    validation: Annotations | None = None  # to measure the AP before and after, and to calibrate int8
    calibration: int = 128  # number of images
    max_drop: float = 0.02  # maximum loss of AP (0..1) of boxes, and of masks, for int8


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of an export."""

    path: Path
    megabytes: float
    difference: Difference
    ap: tuple[float, float] | None  # of the checkpoint and the exported file
    masks_ap: tuple[float, float] | None  # likewise of masks, if model and annotations have any


def export(checkpoint: Path, output: Path, request: Request) -> Report:
    """Export a checkpoint to `output`; the file appears only once it has been verified.

    Raises UserError for an invalid request, an export outside its tolerance, or an unwritable output.
    """
    _check(request, output)
    detector = load(checkpoint)
    description = Description(
        config=detector.config,
        divisor=detector.preprocess.divisor,
        precision=request.precision,
        size=None if request.dynamic else _fixed_size(detector, request.size),
    )
    pictures = [decode_image(path) for path in request.images] or _default_pictures()
    truth, int8 = request.validation, request.precision == "int8"
    expected = expect(detector, description, pictures)  # before the work, as images may not fit
    before = measure(checkpoint, truth, "cpu", needed=int8)
    triton = request.format == "triton"
    with _aside(output) as place:
        path = model_file(place) if triton else place
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(detector, description, request, path)
        difference = verify(expected, Runtime(path, trust=True))
        if not int8:  # whose detections differ, and are judged by their AP
            difference.check(TOLERANCES[request.precision])
        ap, masks_ap = average_precision(before, measure(path, truth))
        if int8:
            check_drop(ap, masks_ap, request.max_drop)
        if triton:
            (place / "config.pbtxt").write_text(config(output.name, path), "utf-8")
        size = sum(file.stat().st_size for file in place.parent.rglob("*") if file.is_file())
    return Report(path=output, megabytes=size / 1e6, difference=difference, ap=ap, masks_ap=masks_ap)


def _check(request: Request, output: Path) -> None:
    check_choice("precision", request.precision, get_args(ExportPrecision))
    check_number("calibration", request.calibration, 1, whole=True)
    check_number("max_drop", request.max_drop, 0, 1)
    suffix = SUFFIX[request.format]
    if suffix and output.suffix != suffix:
        raise UserError(f"{output}: files of format {request.format} end in {suffix}; use this suffix")
    if not suffix and output.exists():
        raise UserError(f"{output}: already exists; choose another output for the model's folder, or remove it")
    if request.size is not None and request.dynamic:
        raise UserError("--dynamic accepts any size: leave out --size, or --dynamic")
    if request.precision == "int8":
        if request.format == "torch-export":
            raise UserError("int8 is only supported in onnx and openvino files; choose one of these formats")
        if request.validation is None:
            raise UserError("int8 needs images to calibrate on and to measure its AP: give --annotations")
    needed = {"onnx": ["onnx", "onnxscript", "onnxruntime"], "torch-export": []}
    needed |= {"openvino": [*needed["onnx"], "openvino"], "triton": needed["onnx"]}
    packages = [*needed[request.format], *(["nncf"] if request.precision == "int8" else [])]
    needs(f"--format {request.format}", "export", *packages)


def _fixed_size(detector: Detector, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Return the height and width of a fixed input: as requested, or the model's short and long side (landscape)."""
    config = detector.config.preprocess
    if wanted is None:
        if config.min_size is None:
            raise UserError("the model keeps every image's size: give --size HEIGHT WIDTH, or --dynamic")
        wanted = (config.min_size[-1], config.max_size)
    if min(wanted) < 1:
        raise UserError(f"--size {wanted[0]} {wanted[1]}: give the height and width in pixels")
    stride = detector.preprocess.divisor
    height, width = (max(least(stride), -(-side // stride) * stride) for side in wanted)
    return height, width


def _default_pictures() -> list[np.ndarray]:
    """Return a photo that comes with matplotlib, upright and transposed, and generated scenes."""
    import matplotlib

    photo = decode_image(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
    scenes = [draw("val", k, size=size, seed=0).pixels for k, size in enumerate([(240, 320), (400, 300)])]
    return [photo, np.ascontiguousarray(photo.swapaxes(0, 1)), *scenes]


@contextmanager
def _aside(output: Path) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder, whose files replace those at `output` on success."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with folder_aside(output) as folder:
            yield folder / output.name
            for file in sorted(folder.iterdir()):  # .bin before .xml, which refers to it
                file.replace(output.parent / file.name)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror or error}); choose another output") from None


def _write(detector: Detector, description: Description, request: Request, path: Path) -> None:
    half = request.precision == "fp16" and request.format != "openvino"  # OpenVINO only stores float16
    program = capture(DetectionGraph(detector, torch.float16 if half else torch.float32), description.size)
    if request.format == "torch-export":
        to_torch.write(program, description, path)
        return
    from cascade_rcnn.export import to_onnx

    with tempfile.TemporaryDirectory() as folder:
        steps = [lambda target: to_onnx.write(program, description, target)]
        if request.precision == "int8":
            from cascade_rcnn.export.quantize import quantize

            paths, settings = _calibration(request), (description.size, description.divisor)
            inputs = (prepare([decode_image(path)], description.config.preprocess, *settings) for path in paths)
            steps.append(lambda target: quantize(Path(folder) / "0.onnx", inputs, len(paths), target))
        if request.format == "openvino":
            from cascade_rcnn.export import to_openvino

            source = Path(folder) / f"{len(steps) - 1}.onnx"
            steps.append(lambda target: to_openvino.write(source, description, target))
        for number, step in enumerate(steps):
            step(path if number == len(steps) - 1 else Path(folder) / f"{number}.onnx")


def _calibration(request: Request) -> list[Path]:
    """Return the images to calibrate int8 on, spread over the validation set."""
    truth = request.validation
    assert truth is not None
    number = min(request.calibration, len(truth))
    return [truth.path(k * len(truth) // number) for k in range(number)]
