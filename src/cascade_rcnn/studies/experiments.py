"""From a list of tables and figures to finished runs: train what is missing, measure what is missing."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cascade_rcnn.data import Annotations
from cascade_rcnn.engine import environment
from cascade_rcnn.engine.evaluate import evaluation_loader
from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.engine.predictor import choose_device
from cascade_rcnn.engine.training import data as training_data
from cascade_rcnn.engine.training.prepare import build_model
from cascade_rcnn.engine.training.train import train
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import evaluate_boxes
from cascade_rcnn.files import read_json
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.recipes import Recipe
from cascade_rcnn.studies import measure
from cascade_rcnn.studies.runs import Artifact, Setting, Variant, family_of, needed, variants
from cascade_rcnn.studies.store import RunFolder, Store, save_matches

Say = Callable[[str], None]
# Of a recipe: what may differ between runs that stand in one table (the machine, and where the files lie on it).
_MACHINE = ("output", "workers", "accelerator", "precision", "evaluate_every", "save_every", "seed")


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a user asks for."""

    base: Recipe  # of the cascade; its `output` is the study's folder, its `seed` the first
    artifacts: Sequence[Artifact]
    seeds: int = 1
    families: dict[str, str | None] | None = None  # recipe -> backbone weights, for Table 6
    sample_images: int = 300  # training images that Figures 2 and 4 are measured on

    @property
    def store(self) -> Store:
        """Where its runs lie."""
        return Store(Path(self.base.output))


@dataclass(frozen=True)
class Task:
    """A run that the study needs, and what is missing of it."""

    run: RunFolder
    variant: Variant
    recipe: Recipe
    missing: list[str]  # measurements; of a run that is trained

    @property
    def settings(self) -> list[Setting]:
        """Those to measure."""
        return [setting for setting in self.variant.settings if setting.name in self.missing]

    @property
    def localization_steps(self) -> int:
        """How often to apply the regressors; 0: not."""
        return self.variant.localization_steps if "localization" in self.missing else 0

    @property
    def is_done(self) -> bool:
        """Nothing is left to do."""
        return self.run.is_trained and not self.missing


def tasks(study: Study) -> list[Task]:
    """Every run that the tables and figures need, each once; a cascade before what is measured with its boxes."""
    if study.seeds < 1:
        raise UserError(f"seeds is {study.seeds}; give 1 or more")
    if study.sample_images < 1:
        raise UserError(f"sample-images is {study.sample_images}; give 1 or more")
    if study.families and all(a.name != "table6" for a in study.artifacts):
        raise UserError(f"the families {', '.join(study.families)} stand in Table 6 alone; ask for table6, too")
    if study.base.devices > 1:
        raise UserError(
            f"devices is {study.base.devices}: a study trains on one device a run; start it on each with other tables "
            "or seeds, in folders of their own, and copy the runs into one"
        )
    known = variants(study.base, study.families)
    found = []
    for name, variant in known.items():
        users = [a for a in study.artifacts if name in needed(a, known) or (a.name == "table6" and family_of(name))]
        count = max((study.seeds if a.every_seed else 1 for a in users), default=0)
        for seed in range(study.base.seed, study.base.seed + count):
            run = study.store.run(name, seed)
            asked = {a.name for a in users if a.every_seed or seed == study.base.seed}
            # Not evaluated on the way: the study does that at its end, in every setting.
            recipe = replace(variant.recipe, seed=seed, output=str(run.training), evaluate_every=0)
            found.append(Task(run, variant, recipe, run.missing(variant, asked)))
    return sorted(found, key=lambda task: task.run.seed)  # whole tables with one seed first


def run(study: Study, say: Say = print) -> None:
    """Train and measure whatever is missing. Raises `Interrupted` when the user stops it; the same call goes on."""
    todo, train_set, val = ready(study)
    say(f"{len(todo)} runs, {sum(task.is_done for task in todo)} of them done")
    for number, task in enumerate(todo, start=1):
        if task.is_done:
            continue
        say(f"run {number}/{len(todo)}: {task.variant.title}, seed {task.run.seed}")
        if not task.run.is_trained:
            _train(task, train_set, val)
        if task.run.checkpoint.is_file():
            _measure(task, study, train_set, val, say)
        else:
            say(f"  no checkpoint in {task.run.training}: {', '.join(task.missing)} cannot be measured")


def ready(study: Study) -> tuple[list[Task], Annotations, Annotations]:
    """The runs, training and validation set. Whatever does not fit is found here, before hours of training."""
    todo = tasks(study)
    train_set, val = read_data(study.base)
    prints = {"train": fingerprint(train_set), "val": fingerprint(val)}
    for task in todo:
        _check_same_settings(task, prints)
    untrained = {task.variant.name: task.recipe for task in todo if not task.run.is_trained}
    for recipe in untrained.values():
        build_model(recipe, train_set.categories)  # of its own weights: each family has others
    return todo, train_set, val


def read_data(base: Recipe) -> tuple[Annotations, Annotations]:
    """Training and validation set, checked."""
    data = base.data
    if not data.train or not data.val:
        raise UserError("a study needs data: give --data.train ANNOTATIONS and --data.val ANNOTATIONS")
    sets = training_data.read_data(data)
    assert sets.val is not None  # there is data.val
    return sets.train.annotations, sets.val.annotations


def fingerprint(truth: Annotations) -> str:
    """The same for the same images and boxes, wherever they lie."""
    digest = hashlib.sha256()
    for column in (truth.image_ids, truth.first, truth.boxes, truth.labels, truth.ignore):
        digest.update(np.ascontiguousarray(column.numpy()).tobytes())
    return digest.hexdigest()[:16]


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON has it, without what may differ from machine to machine."""
    values = {k: v for k, v in msgspec.json.decode(msgspec.json.encode(recipe)).items() if k not in _MACHINE}
    weights = values.pop("weights_backbone")
    data = {name: values["data"][name] for name in ("flip", "photometric")}
    return values | {"data": data, "pretrained": weights is not None}


def _check_same_settings(task: Task, prints: dict[str, str]) -> None:
    """A finished run is reused only where it is the run that is asked for."""
    record = task.run.read("training.json")
    if record is None:
        return
    for split, asked in prints.items():
        if record["data"][split]["id"] != asked:
            raise UserError(f"{task.run.path}: was run on other {split} data; choose another --output")
    there = dict(_flat(record["settings"]))
    for name, value in _flat(settings_of(task.recipe)):
        if there.get(name) != value:
            raise UserError(
                f"{task.run.path}: was trained with {name} {there.get(name)}, not {value}; choose another --output"
            )


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """options: {stages: 3} -> options.stages: 3, as the flags are called."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _train(task: Task, train_set: Annotations, val: Annotations) -> None:
    run = task.run
    try:
        train(task.recipe, resume=run.is_begun)
    except Interrupted:
        raise Interrupted("stopped, and saved: the same command continues") from None
    results = read_json(run.training / "results.json")
    model = load(run.checkpoint)
    run.write(
        "training.json",
        {
            "name": run.name,
            "title": task.variant.title,
            "seed": run.seed,
            "model": task.recipe.model,
            "settings": settings_of(task.recipe),
            "data": {"train": _describe(train_set), "val": _describe(val)},
            "size_mib": sum(p.numel() for p in model.parameters()) * 4 / 2**20,
            "process_peak_memory_mb": results["peak_memory_mb"],  # of this and all earlier runs of the process
            **{k: results[k] for k in ("epochs", "updates", "training_seconds", "precision", "machine")},
        },
    )


def _describe(truth: Annotations) -> dict[str, Any]:
    return {
        "name": Path(truth.source).name,
        "id": fingerprint(truth),
        "images": len(truth),
        "boxes": int((~truth.ignore).sum()),
        "classes": len(truth.categories),
    }


def _measure(task: Task, study: Study, train_set: Annotations, val: Annotations, say: Say) -> None:
    run, variant, recipe = task.run, task.variant, task.recipe
    device = choose_device("cpu" if recipe.accelerator == "cpu" else None)
    model = load(run.checkpoint, device=device, **variant.settings[0].inference)
    other = study.store.run("cascade", run.seed).checkpoint
    settings = task.settings
    cascade = None
    if any(s.of_cascade for s in settings):
        cascade = load(other, device=device) if other.is_file() else None
        if cascade is None:
            say(f"  {other} is not there: Figure 5 (a) will lack the cascade's boxes")
            settings = [s for s in settings if not s.of_cascade]
    if "speed" in task.missing:
        run.write("speed.json", _speed(model, recipe, val) | {"device": str(device), "machine": environment.describe()})
    if "samples" in task.missing:
        run.write(
            "samples.json", measure.samples(model, train_set, study.sample_images, recipe.batch_size, recipe.workers)
        )
    if not settings and not task.localization_steps:
        return
    loader = evaluation_loader(val, recipe.batch_size, recipe.workers)
    found, curve = measure.detect_and_localize(
        model, loader, settings, task.localization_steps, cascade=cascade, number=len(val)
    )
    if curve is not None:
        run.write("localization.json", curve.to_dict())
    for name, detections in found.items():
        save_matches(run.path / "detections" / f"{name}.npz", val, detections)
        run.write(f"metrics/{name}.json", evaluate_boxes(val, detections).to_dict())


def _speed(model: Detector, recipe: Recipe, val: Annotations) -> dict[str, float]:
    return {
        "training_seconds_per_image": measure.training_seconds_per_image(recipe),
        "test_seconds_per_image": measure.seconds_per_image(model, val),
    }
