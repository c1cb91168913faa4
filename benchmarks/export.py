"""What does an export lose, and what does it gain? Every format and precision is compared with the eager detector.

Writes docs/results/export.md with the largest difference, file size and latency for each model and format, and with the
AP of the trained --checkpoints on person_val.json in --data.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch

import cascade_rcnn
from benchmarks.measure import Options, Task, interleaved, options, skip
from benchmarks.photo import photograph
from benchmarks.weights import prepare
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.engine import environment
from cascade_rcnn.engine.evaluate import run_predictor
from cascade_rcnn.engine.predictor import Predictor
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import evaluate_boxes
from cascade_rcnn.export.export import SUFFIX, Format, Request, export
from cascade_rcnn.files import replacing
from cascade_rcnn.images.decoding import decode_image
from cascade_rcnn.images.tensors import read_image
from cascade_rcnn.runtime import Runtime
from cascade_rcnn.runtime.description import ExportPrecision

_FORMATS: tuple[Format, ...] = ("onnx", "openvino", "torch-export")
_PRECISIONS: tuple[ExportPrecision, ...] = ("fp32", "fp16", "int8")
_SMALL = (
    "faster_rcnn_vgg16",
    "cascade_rcnn_vgg16",
    "rfcn_resnet18",
    "cascade_rfcn_resnet18",
    "iterative_bbox_resnet18_fpn",
    "integral_loss_resnet18_fpn",
)
_HEAD = """# Exports

This page is written by `python -m benchmarks.export`. Latency is the median time in milliseconds for one image from
pixels to detections, at batch size 1 on two threads, with the candidates taking turns; "eager" is `Predictor` with the
checkpoint. Trained models run on images of 320 pixels; differences are measured on ten validation images, and AP on all
{images}. Models with random weights run on a photo of 800 x 1216 pixels, or 320 x 480 if marked "small". The
differences are the largest ones from the eager detector in fp32; "missing" counts detections without a counterpart, on
either side.

| model | format | largest difference, px | in score | missing | MB | ms | AP |
|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Subject:
    """A model to export, and what to measure it on."""

    name: str
    checkpoint: Path
    image: Path
    truth: Annotations | None
    precisions: tuple[ExportPrecision, ...]


def main(given: Options) -> None:
    lines = []
    page = given.output.parent / "export.md"
    with tempfile.TemporaryDirectory() as name:
        trained = _trained(given)
        for subject in [*trained, *_untrained(given, Path(name)), *_small(given, Path(name))]:
            lines += _measure(subject, Path(name), given)
            _write(page, lines, len(trained[0].truth or ()) if trained else 0)
    print(page.read_text())


def _write(page: Path, lines: list[str], images: int) -> None:
    here = environment.describe()
    where = f"{here['processor']}, {here['cores']} cores; torch {here['torch']}, {here['date']}."
    with replacing(page) as aside:
        aside.write_text(f"{_HEAD.format(images=images)}{chr(10).join(lines)}\n\n{where}\n")


def _trained(given: Options) -> list[Subject]:
    if not given.checkpoints or given.data is None:
        skip("export", "rows for trained models need --checkpoints FILE... and --data FOLDER with person_val.json")
        return []
    truth = load_annotations(given.data / "person_val.json", given.data / "images")
    names = [f"{cascade_rcnn.load(path).config.name}, trained on people" for path in given.checkpoints]
    return [
        Subject(name, path, truth.path(0), truth, _PRECISIONS)
        for name, path in zip(names, given.checkpoints, strict=True)
    ]


def _untrained(given: Options, folder: Path) -> list[Subject]:
    """Return full-size ResNet-50 models with weights that behave like trained ones; int8 and AP need real weights."""
    task = given.inference if given.quick else Task((800, 1216))
    image = photograph(task.size, given.image)
    prepare(folder, image, task)
    names = {"cascade": "cascade_rcnn_resnet50_fpn", "faster": "faster_rcnn_resnet50_fpn"}
    photo = _save_photo(image, folder / "photo.png")
    return [Subject(f"{name}, random", folder / f"{file}.safetensors", photo, None, ("fp32",))
            for file, name in names.items()]  # fmt: skip


def _small(given: Options, folder: Path) -> list[Subject]:
    """Return the other architectures in the sizes of the small recipes, with random weights."""
    photo = _save_photo(photograph((320, 480), given.image), folder / "small.png")
    subjects = []
    for name in _SMALL:
        torch.manual_seed(0)
        options = {"pyramid_channels": 64, "head_width": 256, "proposals": 300, "min_size": None}
        model = cascade_rcnn.create_model(name, 20, score_threshold=0.02, **options)
        cascade_rcnn.save(model.eval(), folder / f"{name}.safetensors")
        subjects.append(Subject(f"{name}, random, small", folder / f"{name}.safetensors", photo, None, ("fp32",)))
    return subjects


def _save_photo(image: torch.Tensor, path: Path) -> Path:
    PIL.Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return path


def _measure(subject: Subject, folder: Path, given: Options) -> list[str]:
    eager = Predictor(subject.checkpoint, device="cpu")
    image = read_image(subject.image)
    array = decode_image(subject.image)
    runs: dict[str, Callable[[], object]] = {"eager fp32": lambda: eager.detect([image])}
    cells: dict[str, list[str]] = {"eager fp32": ["", "", "", _megabytes([subject.checkpoint])]}
    ap = {"eager fp32": _ap(eager, subject.truth)}
    for format_ in _FORMATS:
        for precision in subject.precisions:
            if precision == "int8" and format_ == "torch-export":
                continue
            name, path = f"{format_} {precision}", folder / f"{precision}{SUFFIX[format_]}"
            try:
                report = export(subject.checkpoint, path, _request(subject, format_, precision, image))
            except UserError as error:
                cells[name] = [f"refused: {error}", "", "", ""]
                continue
            difference = report.difference
            share = f"{difference.missing} of {difference.expected + difference.found}"
            cells[name] = [f"{difference.boxes:.2g}", f"{difference.scores:.1g}", share, f"{report.megabytes:.1f}"]
            runtime = Runtime(path, threads=given.threads, trust=True)
            runs[name] = lambda runtime=runtime: runtime.detect([array])
            ap[name] = _ap(Predictor(path, trust=True), subject.truth)
            print(subject.name, name, *cells[name], ap[name], flush=True)
    torch.set_num_threads(given.threads)
    times = interleaved(runs, given.repeats)
    return [
        f"| {subject.name} | {name} | {' | '.join(row)} | {1e3 * times[name]:.0f} | {ap[name]} |"
        if name in times
        else f"| {subject.name} | {name} | {' | '.join(row)} | | |"
        for name, row in cells.items()
    ]


def _request(subject: Subject, format_: Format, precision: ExportPrecision, image: torch.Tensor) -> Request:
    if subject.truth is None:
        return Request(
            format=format_, precision=precision, size=(image.shape[1], image.shape[2]), images=(subject.image,)
        )
    step = len(subject.truth) // 10
    images = tuple(subject.truth.path(k * step) for k in range(10))
    validation = subject.truth if precision == "int8" else None
    return Request(format=format_, precision=precision, dynamic=True, images=images, validation=validation)


def _ap(predictor: Predictor, truth: Annotations | None) -> str:
    if truth is None:
        return ""
    return f"{100 * evaluate_boxes(truth, run_predictor(predictor, truth, 1, 1).rows).ap:.2f}"


def _megabytes(files: list[Path]) -> str:
    return f"{np.sum([file.stat().st_size for file in files]) / 1e6:.1f}"


if __name__ == "__main__":
    main(options(__doc__))
