"""What a study would run and how long it would take: a few steps of each model, timed, for the whole."""

import time
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from cascade_rcnn.data import Annotations
from cascade_rcnn.engine.evaluate import evaluation_loader
from cascade_rcnn.engine.training.launch import launch
from cascade_rcnn.engine.training.metric_log import read_csv
from cascade_rcnn.engine.training.prepare import prepare
from cascade_rcnn.engine.training.timing import seconds_per_update
from cascade_rcnn.studies.experiments import Study, Task, ready
from cascade_rcnn.studies.measure import detect_and_localize

_IMAGES = 4  # validation images


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is left to do of a run, and for how long."""

    task: Task
    state: str
    minutes: float


@dataclass(frozen=True)
class Speed:
    """Of a model on this machine."""

    seconds_per_update: float
    updates: int  # in its whole training
    seconds_per_image: float  # to measure it in all its settings


def plan(study: Study) -> list[Estimate]:
    """Every run of the study; a model that has to be trained or measured is tried for a few steps."""
    todo, train_set, val = ready(study)
    speeds: dict[tuple[str, ...], Speed] = {}  # further seeds have less to measure, and need a probe of their own
    found = []
    for task in todo:
        if task.is_done:
            found.append(Estimate(task=task, state="done", minutes=0.0))
            continue
        work = (task.variant.name, *task.missing)
        if work not in speeds:
            speeds[work] = probe(task, train_set, val)
        found.append(_estimate(task, speeds[work], len(val)))
    return found


def _estimate(task: Task, speed: Speed, images: int) -> Estimate:
    measuring = speed.seconds_per_image * images
    if task.run.is_trained:
        return Estimate(task=task, state="to measure", minutes=measuring / 60)
    rows = read_csv(task.run.training / "train.csv") if task.run.is_begun else []
    done = int(rows[-1]["step"]) if rows else 0
    state = f"to resume at {100 * done // speed.updates} %" if done else "to train"
    return Estimate(
        task=task, state=state, minutes=(speed.seconds_per_update * (speed.updates - done) + measuring) / 60
    )


def probe(task: Task, train_set: Annotations, val: Annotations) -> Speed:
    """A few updates on the training data and a few validation images, as the study itself runs them."""
    recipe = task.recipe
    with TemporaryDirectory() as folder:
        trial = replace(recipe, output=str(Path(folder) / "probe"))
        fabric = launch(trial)
        run, _ = prepare(trial, fabric, resume=False)
        updates = run.total_steps
        seconds = seconds_per_update(run)
        batch = recipe.batch_size
        loader = list(islice(evaluation_loader(val, batch, 0), -(-_IMAGES // batch)))
        model = run.model.eval()
        settings = [setting for setting in task.settings if not setting.of_cascade]
        start = time.perf_counter()
        detect_and_localize(model, loader, settings, task.localization_steps)
        measured = time.perf_counter() - start
    return Speed(seconds, updates, measured / max(1, sum(len(images) for images, _ in loader)))
