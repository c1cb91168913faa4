"""Prediction on Ray Data, from images to Parquet files; it continues where an earlier call stopped."""

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import ray
from cascade_rcnn.arguments import check_number, known_options
from cascade_rcnn.config import InferenceOptions
from cascade_rcnn.engine.predictor import Precision, Predictor
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import locate, read_config
from cascade_rcnn.ray.predict import Predict
from cascade_rcnn.ray.results import read_results
from cascade_rcnn.ray.sources import read_images
from cascade_rcnn.ray.storage import Place
from cascade_rcnn.runtime import is_exported
from cascade_rcnn.text import count

_SETTINGS = "_predict.json"  # readers of Parquet folders skip names with a leading underscore


@dataclass(frozen=True)
class PredictionSummary:
    """The number of images by outcome, and where their detections are."""

    done: int  # by this call
    before: int  # by earlier calls
    failed: int  # by either: rows with an error
    output: str
    alike: int = 0  # rows whose image has the name of another

    def __str__(self) -> str:
        before = f" ({self.before} of them by earlier runs)" if self.before else ""
        return f"{count(self.done + self.before, 'image')}{before}: {self.output}"

    @property
    def notes(self) -> list[str]:
        """A line if images share their names, so that their rows cannot be told apart."""
        which = f"{count(self.alike, 'row')} of images with the name of another one"
        why = "their detections cannot be told apart, and a continued run skips them; give unique names"
        return [f"{which}: {why}"] if self.alike else []


@known_options
def predict_dataset(
    checkpoint: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    workers: int | None = None,
    cpus: int = 1,
    gpus: float | None = None,
    batch_size: int | None = None,
    threshold: float = 0.0,
    device: str | None = None,
    precision: Precision = "fp32",
    trust: bool = False,
    **inference: Unpack[InferenceOptions],
) -> PredictionSummary:
    """Detect objects in every image of `source` (see `read_images`) and write Parquet files (`SCHEMA`) to `output`.

    Each of the `workers` actors holds a model and uses `cpus` threads and `gpus` GPUs (default: one if there are any).
    By default, there are as many actors as the cluster has room for. `batch_size` defaults to 1 on a CPU and 8 on a
    GPU; other arguments are those of `Predict`. If Ray is connected to a cluster, or RAY_ADDRESS names one, it is used;
    otherwise, Ray is started on this machine. If an actor or machine dies, its images are processed again elsewhere.
    Images with a row in `output` are skipped, so that calling the function again continues a stopped run.
    Raises UserError if `output` holds results with other settings, or for invalid arguments.
    """
    for name, value in (("batch_size", batch_size), ("workers", workers), ("cpus", cpus)):
        if value is not None:
            check_number(name, value, 1, whole=True)
    check_number("threshold", threshold, 0, 1)
    if gpus is not None:
        check_number("gpus", gpus, 0)
    weights, place = locate(str(checkpoint)), Place(output)
    _check_model(weights, device=device, precision=precision, trust=trust, **inference)
    options = {"threshold": threshold, "precision": precision, **inference}
    settings = {"checkpoint": Path(weights).name, "sha256": digest(Path(weights)), **options}
    settings = json.loads(json.dumps(settings, default=str))  # as they are read back
    _check_settings(place, settings)
    before, _ = read_results(place)
    _start()
    gpus = (1 if ray.cluster_resources().get("GPU") else 0) if gpus is None else gpus
    images = read_images(source, done=before)
    place.write(_SETTINGS, json.dumps(settings, indent=2).encode())
    processors = ray.cluster_resources()["CPU"]
    room = max(1, int(ray.cluster_resources().get("GPU", 0) / gpus if gpus else processors / cpus))
    workers = room if workers is None else workers
    found = images.map_batches(
        Predict,
        fn_constructor_args=[str(Path(weights).absolute())],
        fn_constructor_kwargs={
            "device": device or (None if is_exported(weights) else "cuda" if gpus else "cpu"),
            "threads": cpus,
            "trust": trust,
            **options,
        },
        batch_format="pyarrow",
        batch_size=(8 if gpus else 1) if batch_size is None else batch_size,
        concurrency=workers,
        num_gpus=gpus or None,
        # For Ray's scheduler only. One CPU is left for the tasks that read images, for which actors would wait forever.
        num_cpus=min(float(cpus), max(0.0, processors - 1) / workers),
    )
    found.write_parquet(place.path, filesystem=place.files)
    rows, failed = read_results(place)
    total, earlier = rows.total(), before.total()
    return PredictionSummary(total - earlier, earlier, failed, place.address, total - len(rows))


def _check_model(weights: Path, **settings: Any) -> None:
    """Raise UserError here, and not in every actor, if the file or a setting is wrong."""
    predictor = Predictor(weights, **settings)
    if is_exported(weights):
        _ = predictor.model
    else:
        read_config(weights).with_inference(**predictor.inference)


def _start() -> None:
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def _check_settings(place: Place, settings: dict[str, Any]) -> None:
    """Raise UserError if the output holds results with other settings, or other Parquet files."""
    if _SETTINGS in place.listing((_SETTINGS,)):
        earlier = json.loads(place.read(_SETTINGS))
        # Unset is not None: `min_size` None turns resizing off.
        differing = sorted(k for k in {*earlier, *settings} if earlier.get(k, "unset") != settings.get(k, "unset"))
        if differing:
            raise UserError(
                f"{place.address}: contains results with other settings ({', '.join(differing)}); "
                "give another output folder"
            )
    elif place.listing((".parquet",)):
        raise UserError(f"{place.address}: contains other Parquet files; give another output folder")


def digest(weights: Path) -> str:
    """Return what identifies a checkpoint's content; after further training, its name and size are the same."""
    files = [weights, *filter(Path.is_file, [weights.with_suffix(".bin")] if weights.suffix.lower() == ".xml" else [])]
    content = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    return content.hexdigest()
