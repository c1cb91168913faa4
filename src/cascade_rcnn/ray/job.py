"""A whole prediction on Ray Data: images -> Parquet files, continued where an earlier one ended."""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.parquet as pq

import ray
from cascade_rcnn.engine.predictor import Precision
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import locate, read_config
from cascade_rcnn.models.options import InferenceOptions
from cascade_rcnn.ray.predict import Predict
from cascade_rcnn.ray.sources import read_images
from cascade_rcnn.ray.storage import Place
from cascade_rcnn.runtime import SUFFIXES
from cascade_rcnn.text import count

_SETTINGS = "_predict.json"  # readers of Parquet folders skip names that begin so


@dataclass(frozen=True)
class PredictionSummary:
    """The number of images by outcome."""

    done: int  # by this call
    before: int  # by earlier calls
    failed: int  # rows with an error, of both
    output: str

    def __str__(self) -> str:
        before = f" ({self.before} of them by earlier runs)" if self.before else ""
        return f"{count(self.done + self.before, 'image')}{before}: {self.output}"


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

    `workers` actors hold a model each, with `cpus` threads and `gpus` GPUs (default: one if there is any). By default
    there are as many as the cluster has room for. `batch_size` defaults to 1 on a CPU and 8 on a GPU. A cluster that
    Ray is connected to, or that RAY_ADDRESS names, is used; otherwise Ray is started on this machine. An actor or
    machine that dies is replaced and its images are done again. Images that `output` has rows for are left out, so the
    same command continues what was stopped; with other settings it raises UserError.
    """
    for name, value in (("batch_size", batch_size), ("workers", workers), ("cpus", cpus)):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}; give 1 or more")
    weights, place = locate(str(checkpoint)), Place(output)
    if weights.suffix not in SUFFIXES:
        read_config(weights)  # a mistake in its name is found here, not by every actor
    options = {"threshold": threshold, "precision": precision, **inference}
    settings = {"checkpoint": Path(weights).name, "bytes": Path(weights).stat().st_size, **options}
    settings = json.loads(json.dumps(settings, default=str))  # as they come back
    _check_settings(place, settings)
    before, _ = _rows(place)
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
            "device": device or ("cuda" if gpus else "cpu"),
            "threads": cpus,
            "trust": trust,
            **options,
        },
        batch_format="pyarrow",
        batch_size=(8 if gpus else 1) if batch_size is None else batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=gpus or None,
        # What Ray counts, not what is used: one is left, or actors that never end would wait for readers without any.
        num_cpus=min(float(cpus), max(0.0, processors - 1) / workers),
    )
    found.write_parquet(place.path, filesystem=place.files)
    rows, failed = _rows(place)
    return PredictionSummary(len(rows) - len(before), len(before), failed, place.address)


def _start() -> None:
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def _check_settings(place: Place, settings: dict[str, Any]) -> None:
    """Compare the settings with those of the results that are there, if any."""
    if _SETTINGS in place.listing((_SETTINGS,)):
        earlier = json.loads(place.read(_SETTINGS))
        differing = sorted(k for k in {*earlier, *settings} if earlier.get(k) != settings.get(k))
        if differing:
            raise UserError(
                f"{place.address}: holds results with other settings ({', '.join(differing)}); "
                "give another output folder"
            )
    elif place.listing((".parquet",)):
        raise UserError(f"{place.address}: holds Parquet files of something else; give another output folder")


def _rows(place: Place) -> tuple[set[str], int]:
    """Return the paths that have a row, and how many of them have an error. Files cut short by a kill are removed."""
    paths: set[str] = set()
    failed = 0
    for name in place.listing((".parquet",)):
        try:
            table = pq.read_table(place.join(name), columns=["path", "error"], filesystem=place.files)
        except (pa.ArrowInvalid, OSError):
            place.files.delete_file(place.join(name))
            continue
        paths.update(table["path"].to_pylist())
        failed += len(table) - table["error"].null_count
    return paths, failed
