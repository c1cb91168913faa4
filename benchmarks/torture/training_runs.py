"""A training run of a few seconds, and the comparison of its output with that of another run."""

import csv
import io
import json
import logging
import math
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file

from benchmarks.torture.equality import identical
from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.engine.checkpoint import load, load_state

_TINY = (
    *("--options.backbone-width", "8", "--options.pyramid-channels", "8", "--options.head-width", "16"),
    *(
        "--options.proposals",
        "40",
        "--options.rois",
        "16",
        "--accelerator",
        "cpu",
        "--precision",
        "fp32",
        "--batch-size",
        "2",
    ),
    *("--options.anchor-sizes", "8", "16", "32", "64", "128"),
)
_CLOCKS = ("images_per_s", "seconds", "training_seconds", "images_per_second", "peak_memory_mb", "machine")


def write_data(folder: Path) -> Path:
    """Write a dataset of 12 training and 4 validation images."""
    return write_shapes(folder, train=12, val=4, size=64, seed=5)


def training(data: Path, output: Path, *more: str) -> list[str]:
    """Return the arguments for two epochs of six updates, saving every second update and evaluating every epoch."""
    sets = ("--data.train", str(data / "train.json"), "--data.val", str(data / "val.json"))
    often = ("--epochs", "2", "--evaluate-every", "1", "--save-every", "2", "--workers", "0", "--ema", "0.9")
    return ["train", "shapes", *sets, *often, *_TINY, "--output", str(output), *more]


def resumable(output: Path) -> tuple[str, ...]:
    """Return the flag that resumes the run in the folder, if there is one."""
    return ("--resume",) if list(output.glob("*.state.pt")) else ()


def broken_files(output: Path) -> str | None:
    """Return an error about a broken file of a run that has just been killed; None if all files are intact."""
    try:
        for path in sorted(output.glob("*.safetensors")):
            load(path)
        for path in sorted(output.glob("*.json")):
            json.loads(path.read_text())
        for path in sorted(output.glob("*.state.pt")):
            load_state(path)
    except ValueError as error:
        return f"after a kill: {error}"
    return None


def difference(reference: Path, output: Path) -> str | None:
    """Describe how a run's output differs from that of an undisturbed run, apart from timings; None if it does not."""
    left = [path.name for path in output.iterdir() if path.name.endswith(".tmp")]
    if left:
        return f"{', '.join(left)} was left behind"
    missing = {path.name for path in reference.iterdir()} - {path.name for path in output.iterdir()}
    if missing:
        return f"{', '.join(sorted(missing))} is missing"
    for name in ("last.safetensors", "best.safetensors"):
        there, here = reference / name, output / name
        if _metadata(there) != _metadata(here) or not identical(load_file(there), load_file(here)):
            return f"{name} differs"
    for name in ("train.csv", "evaluation.csv"):
        if (here := _rows(output / name)) != (there := _rows(reference / name)):
            return f"{name} differs: {len(here)} rows, {len(there)} undisturbed"
    for name in ("best.json", "results.json"):
        if not identical(*(json.loads((folder / name).read_text()) for folder in (reference, output)), ignored=_CLOCKS):
            return f"{name} differs"
    states = [load_state(folder / "last.state.pt") for folder in (reference, output)]
    if not identical(*states, ignored=_CLOCKS):
        return "last.state.pt differs"
    return _board_differs(output)


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def _rows(path: Path) -> list[dict[str, str]]:
    text = io.StringIO(path.read_text())
    return [{k: v for k, v in row.items() if k not in _CLOCKS} for row in csv.DictReader(text)]


def _board_differs(output: Path) -> str | None:
    """Compare the curves that TensorBoard's own reader finds with the CSV files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for name, column in (("train", "loss"), ("evaluation", "ap")):
        logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it logs every resumption
        reader = EventAccumulator(str(output / "tensorboard" / name), size_guidance={"scalars": 0})
        reader.Reload()
        tag = f"{name}/{column}"
        points = reader.Scalars(tag) if tag in reader.Tags()["scalars"] else []
        rows = [(int(float(row["step"])), float(row[column])) for row in _rows(output / f"{name}.csv")]
        same = len(points) == len(rows) and all(
            point.step == step and math.isclose(point.value, value, rel_tol=1e-5, abs_tol=1e-7)
            for point, (step, value) in zip(points, rows, strict=False)
        )
        if not same:
            return f"TensorBoard's {tag} has {len(points)} points, {name}.csv {len(rows)} rows, or they differ"
    return None
