"""training.json: the settings, data and machine of a training run, and how long it took."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.augmentation_lists import with_short_forms
from cascade_rcnn.data import Annotations
from cascade_rcnn.engine.training.fingerprint import digest, masks_mark
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json
from cascade_rcnn.models.architectures import has_masks, sibling
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.recipes import Recipe, flattened
from cascade_rcnn.recipes.files import read_recipe
from cascade_rcnn_study.run_files import Training, damaged, read_file
from cascade_rcnn_study.study_folder import RECORD, RunFolder, StudyFolder
from cascade_rcnn_study.variants import Variant

Record: TypeAlias = dict[str, Any]
# Fields of a recipe that may differ between the runs of a table because they depend on the machine or the seed.
_MAY_DIFFER = ("output", "workers", "accelerator", "precision", "evaluate_every", "save_every", "seed")
_MIB = 2**20


def settings_of(recipe: Recipe) -> Record:
    """Return a recipe as plain JSON values, without the fields that may differ between machines."""
    values = {k: v for k, v in msgspec.json.decode(msgspec.json.encode(recipe)).items() if k not in _MAY_DIFFER}
    weights = values.pop("weights_backbone")
    data = {"repeat_rare": values["data"]["repeat_rare"]}
    return values | {"data": data, "pretrained": weights is not None, "weights": _identity(weights)}


def _identity(weights: str | None) -> str | None:
    """Identify pretrained weights by the content of their file, wherever it is, or else by their name."""
    if weights is None or not Path(weights).is_file():
        return weights
    with Path(weights).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def data_id(truth: Annotations) -> str:
    """Identify a dataset by its images and boxes, wherever its files are."""
    return digest(truth, "image_ids", "first", "boxes", "labels", "ignore")[:16]


def read_records(folder: StudyFolder) -> list[Record]:
    """Read the records of all trained runs. Raises UserError for a damaged one, or one in the folder of another run."""
    records = []
    for run in folder.trained():
        record = read_file(run.path / RECORD, Training)
        if (record["name"], record["seed"]) != (run.name, run.seed):
            raise UserError(
                f"{run.path}: contains the run {record['name']}-seed{record['seed']}; rename the folder back"
            )
        try:
            sibling(record["settings"]["model"], "faster_rcnn")
        except UserError as error:
            raise damaged(run.path / RECORD, str(error)) from None
        records.append(record | {"settings": _current(record["settings"])})
    return records


def masks_id(truth: Annotations) -> str | None:
    """Identify the masks of a dataset; None if it was read without them."""
    return None if truth.segmentations is None else masks_mark(truth.segmentations)[1][:16]


def check_reusable(run: RunFolder, recipe: Recipe, data: Mapping[str, Mapping[str, str | None]]) -> None:
    """Raise UserError if the data (by split, the `id` and `masks`) or settings of a run differ from those requested.

    Of a run that is not yet trained to the end, only the settings are known.
    """
    record = run.read(RECORD)
    if record is None:
        if run.is_begun:
            _check_settings(run, settings_of(read_recipe(run.training / "recipe.json")), recipe)
        return
    for split, now in data.items():
        then = {"masks": None} | record["data"][split]  # unknown, of runs without masks or by an earlier version
        if then["id"] != now["id"]:
            raise UserError(f"{run.path}: this run was trained with other {split} data; choose another --output")
        if then["masks"] not in (None, now["masks"]):
            raise UserError(
                f"{run.path}: this run was trained with other masks of the {split} data; choose another --output"
            )
    _check_settings(run, _current(record["settings"]), recipe)


def _check_settings(run: RunFolder, settings: Record, recipe: Recipe) -> None:
    asked = flattened(settings_of(recipe))
    there = {"weights": asked.get("weights")} | flattened(settings)  # earlier versions lack them
    for name, value in asked.items():
        if there.get(name) != value:
            raise UserError(
                f"{run.path}: this run was trained with {name} {there.get(name)}, not {value}; choose another --output"
            )


def _current(settings: Record) -> Record:
    """Convert older settings to the current form: without later options, and with probabilities for augmentations."""
    options = msgspec.json.decode(msgspec.json.encode(ModelOptions())) | settings["options"]
    settings = {"patience": 0} | settings | {"options": options}
    if "augmentation" in settings:
        return settings
    data = settings["data"]
    moved = with_short_forms((), data["flip"], data["photometric"], None)
    return settings | {"augmentation": list(msgspec.to_builtins(moved)), "data": {"repeat_rare": 0.0}}


def planned_record(run: RunFolder, recipe: Recipe, train_set: Annotations, val: Annotations) -> Record:
    """Return what is known of a run before it is trained, which decides whether it can be compared with others."""
    data = {"train": _describe(train_set), "val": _describe(val)}
    if has_masks(recipe.model):
        for split, truth in (("train", train_set), ("val", val)):
            data[split]["masks"] = masks_id(truth)
    return {"name": run.name, "seed": run.seed, "settings": settings_of(recipe), "data": data}


def write_record(run: RunFolder, variant: Variant, recipe: Recipe, train_set: Annotations, val: Annotations) -> None:
    """Write training.json at the end of a training run, which also marks the run as trained."""
    results = read_json(run.training / "results.json")
    weights = sum(p.numel() for p in load(run.checkpoint).parameters())
    record = {
        **planned_record(run, recipe, train_set, val),
        "title": variant.title,
        "model": recipe.model,
        "size_mib": weights * 4 / _MIB,
        "process_peak_memory_mb": results["peak_memory_mb"],  # since the process started, over all its runs
        **{k: results[k] for k in ("epochs", "updates", "training_seconds", "precision", "machine")},
    }
    run.write(RECORD, record)


def _describe(truth: Annotations) -> Record:
    return {
        "name": Path(truth.source).name,
        "id": data_id(truth),
        "images": len(truth),
        "boxes": int((~truth.ignore).sum()),
        "classes": len(truth.categories),
    }
