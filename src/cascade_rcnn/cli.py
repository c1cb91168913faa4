"""The command line: one function per command. Commands import torch lazily; this file does not."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import tyro

from cascade_rcnn.api.recipes import find_recipe, names_of, without_effect
from cascade_rcnn.engine.interrupt import Interrupted, ending_cleanly
from cascade_rcnn.errors import UsageError, UserError, nearest
from cascade_rcnn.recipes import RECIPES, Recipe
from cascade_rcnn.text import count, printable

if TYPE_CHECKING:
    from cascade_rcnn.evaluation import Metrics

Precision = Literal["fp32", "bf16", "fp16"]
Positional = tyro.conf.Positional


def train(arguments: Sequence[str]) -> None:
    """Train by a recipe or a run's recipe.json: `train RECIPE --data.train train.json --data.val val.json`."""
    if not arguments or arguments[0].startswith("-"):
        _list_recipes()
        sys.exit(0 if arguments and arguments[0] in ("-h", "--help") else 2)
    name, *flags = arguments
    default = _auto_base() if name == "auto" else find_recipe(name)

    def run(
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = default,
        *,
        folder: Annotated[Path | None, tyro.conf.arg(name="data")] = None,
        resume: bool = False,
    ) -> None:
        """Train.

        Args:
            recipe: What to train.
            folder: A dataset folder with splits, instead of data.train and data.val.
            resume: Resume the training run in the output folder.
        """

        from cascade_rcnn.api.notes import tell
        from cascade_rcnn.api.train import train as run_training
        from cascade_rcnn.api.train import with_paths
        from cascade_rcnn.engine.training.processes import is_first

        given = _given(recipe, flags)
        if name == "auto":
            data = recipe.data if folder is None else with_paths(recipe.data, folder, splits=True)
            result = run_training("auto", data=data, resume=resume, **given)
        else:
            tell(without_effect(recipe, names_of(given)) if is_first() else [])
            result = run_training(recipe, data=folder, resume=resume)
        if is_first():
            weights = result.weights
            print(f"learning curve: {result.plot()}")
            print(f"weights: {weights}\nnext: cascade-rcnn predict --checkpoint {weights} --output found IMAGES...")

    description = _AUTO if name == "auto" else f"The training that {name} describes."
    description = RECIPES[name].__doc__ if name in RECIPES else description
    tyro.cli(run, prog=f"cascade-rcnn train {name}", description=description, args=flags)


_AUTO = "Your own data: start, sizes, anchors, batch, rates and epochs chosen by the data and the machine."


def _auto_base() -> Recipe:
    from cascade_rcnn.api.auto import base

    return base()


def _given(recipe: Recipe, flags: Sequence[str]) -> dict[str, Any]:
    """The recipe's settings among the flags, parts nested, with their values; but for its data."""
    found: dict[str, Any] = {}
    for word in flags:
        part, _, field = word.partition("=")[0].removeprefix("--").replace("-", "_").partition(".")
        if not word.startswith("--") or part == "data" or not hasattr(recipe, part):
            continue
        value = getattr(recipe, part)
        if field:
            field = field if hasattr(value, field) else field.removeprefix("no_")  # of a flag without a value
            found.setdefault(part, {})[field] = getattr(value, field)
        else:
            found[part] = value
    return found


def _list_recipes() -> None:
    print("usage: cascade-rcnn train RECIPE --data.train ANNOTATIONS [--flags; RECIPE --help lists them]\n\nrecipes:")
    print(f"  {'auto':20} {_AUTO}")
    for name, recipe in RECIPES.items():
        print(f"  {name:20} {(recipe.__doc__ or '').splitlines()[0]}")


def evaluate(
    *,
    annotations: Path,
    images: Path | None = None,
    split: str | None = None,
    checkpoint: Path | None = None,
    detections: Path | None = None,
    output: Path | None = None,
    save_detections: Path | None = None,
    batch_size: int = 1,
    workers: int = 2,
    device: str | None = None,
    precision: Precision = "fp32",
    min_size: Literal["model"] | int | None = "model",
    bad_images: Literal["stop", "skip"] = "stop",
    max_megapixels: float = 179,
    max_detections: int = 100,
    trust: bool = False,
) -> None:
    """Compute COCO metrics of a checkpoint, or of detections in COCO's results format.

    Args:
        annotations: Ground truth: a COCO json, a VOC folder or ImageSets file, a YOLO data.yaml, a folder of these.
        images: Folder of the images, if the annotations do not name it.
        split: The split, if there are several.
        checkpoint: The model to evaluate: a checkpoint or an exported file ...
        detections: ... or a COCO results json to evaluate instead.
        output: Write the metrics to this JSON file.
        save_detections: Write the detections to this COCO results json.
        batch_size: Images per step.
        workers: Number of data loading processes.
        device: cpu, cuda, cuda:1; default: a GPU if there is one.
        precision: Precision of the network.
        min_size: Short side to resize to; None: no resizing; model: its own setting.
        bad_images: For unusable images: list them and stop, or skip them, also in the metrics.
        max_megapixels: Larger images are unusable.
        max_detections: Top-scoring detections per image and class that count; COCO uses 100.
        trust: Open a .pt2 file, which can run any code of its author.
    """
    from cascade_rcnn.api import evaluate as api

    if (checkpoint is None) == (detections is None):
        raise UserError("give either --checkpoint (a model to run) or --detections (a COCO results json)")
    if detections is not None:
        metrics = api.evaluate_detections(
            detections,
            annotations,
            images=images,
            split=split,
            bad_images=bad_images,
            max_detections=max_detections,
            save_detections=save_detections,
        )
    else:
        assert checkpoint is not None
        metrics = api.evaluate(
            checkpoint,
            annotations,
            images=images,
            split=split,
            batch_size=batch_size,
            workers=workers,
            device=device,
            precision=precision,
            min_size=min_size,
            bad_images=bad_images,
            max_megapixels=max_megapixels,
            max_detections=max_detections,
            save_detections=save_detections,
            trust=trust,
        )
    if output is not None:
        metrics.save(output)
    _print_table(metrics)


def statistics(
    *,
    checkpoint: Path,
    annotations: Path,
    images: Path | None = None,
    split: str | None = None,
    batch_size: int = 1,
    workers: int = 2,
    device: str | None = None,
    bad_images: Literal["stop", "skip"] = "stop",
    max_megapixels: float = 179,
) -> None:
    """Measure the mean and standard deviation of the regression targets at each stage, for use in training.

    Args:
        checkpoint: The model whose stages to measure.
        annotations: Ground truth: a COCO json, a VOC folder or ImageSets file, a YOLO data.yaml, a folder of these.
        images: Folder of the images, if the annotations do not name it.
        split: The split, if there are several.
        batch_size: Images per step.
        workers: Number of data loading processes.
        device: cpu, cuda, cuda:1; default: a GPU if there is one.
        bad_images: For unusable images: list them and stop, or skip them.
        max_megapixels: Larger images are unusable.
    """
    from cascade_rcnn.api.statistics import target_statistics

    found = target_statistics(
        checkpoint,
        annotations,
        images=images,
        split=split,
        batch_size=batch_size,
        workers=workers,
        device=device,
        bad_images=bad_images,
        max_megapixels=max_megapixels,
    )
    for t, (mean, std) in enumerate(zip(found.mean, found.std, strict=True), start=1):
        print(
            f"stage {t}: mean {_decimals(mean)}  std {_decimals(std)}  ({count(len(found.deltas[t - 1]), 'positive')})"
        )
    for name, rows in (("means", found.mean), ("stds", found.std)):
        print(f"--options.stage-{name} {' '.join(map(_decimals, rows))}")


def _decimals(row: Sequence[float]) -> str:
    return " ".join(f"{x:.4f}" for x in row)


def predict(
    paths: Positional[tuple[str, ...]] = (),
    /,
    *,
    checkpoint: Path,
    output: Path,
    threshold: float | None = None,
    max_detections: int | None = None,
    nms: float | None = None,
    pictures: bool = True,
    format: tuple[Literal["coco", "cvat", "label-studio", "yolo"], ...] = (),  # noqa: A002
    annotations: Path | None = None,
    images: Path | None = None,
    split: str | None = None,
    batch_size: int = 1,
    device: str | None = None,
    precision: Precision = "fp32",
    min_size: Literal["model"] | int | None = "model",
    overwrite: bool = False,
    trust: bool = False,
) -> None:
    """Detect objects in files, folders and globs: writes COCO results, annotated images, files for labelling tools.

    Running the same command again resumes where it stopped and processes only new images.

    Args:
        paths: Images, folders of images, or glob patterns; default: the images of --annotations.
        checkpoint: The model: a checkpoint or an exported file.
        output: Folder to write detections.json, images.jsonl and pictures/ to.
        threshold: Minimum score of detections; default: none for detections.json, 0.5 for pictures and --format.
        max_detections: Maximum number of detections per image; default: the model's own setting.
        nms: IoU threshold of non-maximum suppression; default: the model's own setting.
        pictures: Write annotated images.
        format: Also write files for these tools: coco (FiftyOne, CVAT, supervision), cvat, label-studio, yolo.
        annotations: Annotations that provide the image ids, by file name; default: 1, 2, ...
        images: Folder of the annotations' images, if they do not name it.
        split: The split of the annotations, for VOC and YOLO folders.
        batch_size: Images per step.
        device: cpu, cuda, cuda:1; default: a GPU if there is one.
        precision: Precision of the network.
        min_size: Short side to resize to; None: no resizing; model: its own setting.
        overwrite: Start over in a folder that contains the results of another command.
        trust: Open a .pt2 file, which can run any code of its author.
    """
    from cascade_rcnn.api.predict import predict_files

    summary = predict_files(
        checkpoint,
        paths,
        output=output,
        threshold=threshold,
        max_detections=max_detections,
        nms_iou=nms,
        pictures=pictures,
        formats=format,
        annotations=annotations,
        images=images,
        split=split,
        batch_size=batch_size,
        device=device,
        precision=precision,
        min_size=min_size,
        overwrite=overwrite,
        trust=trust,
    )
    print(printable(str(summary)))
    if summary.failed:
        whole = count(summary.done + summary.before + summary.failed, "image")
        raise UserError(f"{summary.failed} of {whole} could not be used (see above); the others are done")


def convert(
    source: Positional[Path],
    /,
    *,
    output: Path,
    origin: Annotated[Literal["detectron2", "mmdet", "torchvision"] | None, tyro.conf.arg(name="from")] = None,
    to: Literal["detectron2"] | None = None,
    config: str | None = None,
) -> None:
    """Convert a checkpoint from detectron2, mmdetection or torchvision, or to detectron2.

    Args:
        source: The checkpoint: a .pth, .pkl or .safetensors file.
        output: The file to write: .safetensors with --from, .pth with --to.
        origin: Whose checkpoint it is.
        to: Write one of ours under this framework's names.
        config: The config it was trained with (detectron2's yaml or LazyConfig, mmdetection's py), or the name of a
            published detector that has the same; without it the shapes tell the architecture, and stock settings the
            rest.
    """
    if (origin is None) == (to is None):
        raise UserError("give either --from (the checkpoint's framework) or --to detectron2")
    from cascade_rcnn.api import convert as api
    from cascade_rcnn.models.checkpoint import save

    if origin is None:
        api.save_detectron2(source, output)
        print(f"{output}: load it with detectron2's DetectionCheckpointer")
        return
    if output.suffix != ".safetensors":
        raise UserError(f"{output}: a converted model is a .safetensors file; use this suffix for the output")
    model = api.convert_checkpoint(source, origin, config=config)
    save(model, output)
    print(f"{output}: {model.config.name}, {count(model.config.num_classes, 'class')}")


def weights(name: Positional[str] = "", /, *, json: bool = False, all: bool = False) -> None:  # noqa: A002
    """List the published detectors, or download one and print its location.

    Args:
        name: The detector, or hf://owner/name; omit to list all.
        json: Print JSON.
        all: Also list those that cannot be converted, and why.
    """
    from cascade_rcnn.hub.listing import as_json, as_lines, entries, entry
    from cascade_rcnn.models.checkpoint import locate

    if name:
        path = locate(name)
        print(as_json({"name": name, "path": str(path)} | entry(name)) if json else path)
        return
    listed = entries(every=all)
    print(as_json(listed) if json else "\n".join(as_lines(listed)))


def export(
    checkpoint: Positional[Path],
    /,
    *,
    format: Literal["onnx", "torch-export", "openvino"] = "onnx",  # noqa: A002
    output: Path | None = None,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    dynamic: bool = False,
    size: tuple[int, int] | None = None,
    images: tuple[Path, ...] = (),
    annotations: Path | None = None,
    annotation_images: Path | None = None,
    split: str | None = None,
    calibration: int = 128,
    max_drop: float = 0.02,
) -> None:
    """Export a model for onnxruntime, OpenVINO or torch.export, and verify that its detections match.

    Args:
        checkpoint: The model.
        format: The file format: .onnx, .pt2 (torch-export) or .xml with .bin (openvino).
        output: The file to write; default: the checkpoint's name with the format's suffix.
        precision: Precision of the network. int8 needs --annotations.
        dynamic: Accept batches of any size and images of any size; otherwise one image at a time, fitted into --size.
        size: Height and width of the input; default: the model's short and long side.
        images: Image files to verify on; default: a photo and generated scenes.
        annotations: Ground truth for measuring the AP before and after; int8 is calibrated on its images.
        annotation_images: Folder of the annotations' images, if they do not name it.
        split: The split, for VOC and YOLO folders.
        calibration: Number of images to calibrate int8 on.
        max_drop: AP (0..1) that int8 may lose.
    """
    from cascade_rcnn.api.export import export_model

    report = export_model(
        checkpoint,
        output,
        format=format,
        precision=precision,
        dynamic=dynamic,
        size=size,
        images=images,
        annotations=annotations,
        annotation_images=annotation_images,
        split=split,
        calibration=calibration,
        max_drop=max_drop,
    )
    print(f"{report.path}: {report.megabytes:.1f} MB, {format}, {precision}")
    print(f"verified: {report.difference}")
    if report.ap is not None:
        print(f"AP {report.ap[0]:.4f} before, {report.ap[1]:.4f} after")


def study(arguments: Sequence[str]) -> None:
    """Reproduce the paper's tables and figures on your data: `study list`, `plan`, `run`, `render`."""
    from cascade_rcnn_study.command import main as run

    run(arguments)


def shapes(
    folder: Positional[Path],
    /,
    *,
    train: int = 400,
    val: int = 100,
    size: int = 256,
    seed: int = 0,
) -> None:
    """Write the built-in toy dataset `shapes` as COCO json and images.

    Args:
        folder: Where to write it.
        train: Number of training images.
        val: Number of validation images.
        size: Height and width in pixels.
        seed: Each seed gives a different dataset.
    """
    from cascade_rcnn.data.shapes import write_shapes

    print(write_shapes(folder, train=train, val=val, size=size, seed=seed))


def quickstart(*, output: Path = Path("runs/quickstart")) -> None:
    """Find people in a photo, then fine-tune, evaluate and visualise a cascade on blood cells: minutes, on any CPU.

    Args:
        output: Folder for all outputs.
    """
    from cascade_rcnn.api.quickstart import run

    _print_table(run(output))


def doctor() -> None:
    """Check this installation (versions, compiled operators, GPU) and print fixes for what is broken."""
    from cascade_rcnn.engine.doctor import examine

    lines, advice = examine()
    print("\n".join(lines))
    if advice:
        print("\nto do:\n" + "\n".join(f"- {line}" for line in advice))
        sys.exit(1)
    print("\neverything works")


_VERBS: dict[str, Callable[..., None]] = {
    verb.__name__: verb
    for verb in (train, evaluate, statistics, predict, weights, convert, export, study, shapes, quickstart, doctor)
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `cascade-rcnn COMMAND ...`. A user error ends with one line on stderr and exit code 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        _usage()
        return
    if arguments[0] == "--version":
        from cascade_rcnn import __version__

        print(__version__)
        return
    if "--offline" in arguments:
        for library in ("CASCADE_RCNN", "HF_HUB"):  # the Hub's, by which timm fetches; in processes started here, too
            os.environ[f"{library}_OFFLINE"] = "1"
        arguments = [argument for argument in arguments if argument != "--offline"]
    try:
        with ending_cleanly():
            _run(arguments[0], arguments[1:])
    except (UserError, OSError) as error:
        _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except Interrupted as stop:
        print(printable(str(stop)))
        sys.exit(130)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except RuntimeError as error:
        if "torchvision::" in str(error):  # mismatched builds: torchvision cannot even be imported
            _fail(
                f"torchvision does not match this version of torch ({error}); run `cascade-rcnn doctor` for the fix", 1
            )
        raise


def _run(name: str, arguments: Sequence[str]) -> None:
    if name not in _VERBS:
        raise UsageError(f"there is no command '{name}'{nearest(name, list(_VERBS))}; known: {', '.join(_VERBS)}")
    if name in ("train", "study"):  # these parse their own first arguments
        _VERBS[name](arguments)
    else:
        tyro.cli(_VERBS[name], prog=f"cascade-rcnn {name}", args=list(arguments))


def _usage() -> None:
    print("usage: cascade-rcnn COMMAND ...   (COMMAND --help for its flags; --offline: download nothing)\n\ncommands:")
    for name, verb in _VERBS.items():
        print(f"  {name:12} {(verb.__doc__ or '').splitlines()[0]}")


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(code)


def _print_table(metrics: "Metrics") -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(metrics.table(console.width))
