"""Estimate how long the runs of a study will take on this machine, from a trial run of each model."""

import time
from dataclasses import dataclass
from itertools import islice

from cascade_rcnn.data import Annotations
from cascade_rcnn.engine.evaluate import evaluation_loader
from cascade_rcnn.engine.training.metric_log import read_csv
from cascade_rcnn.engine.training.trial_run import seconds_per_update, trial_run
from cascade_rcnn_study.evaluation import detect_and_localize
from cascade_rcnn_study.preparation import prepare_study
from cascade_rcnn_study.study import PlannedRun, Study

_IMAGES = 4  # validation images of a trial


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The state of a run, and the minutes that it will still take."""

    run: PlannedRun
    state: str
    minutes: float


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a model can be trained and measured on this machine."""

    seconds_per_update: float
    updates: int  # in the whole training run
    seconds_per_image: float  # to measure all that is missing


def estimate_times(study: Study) -> list[Estimate]:
    """Estimate every run of a study, with a trial run of each model that still has to be trained or measured."""
    prepared = prepare_study(study)
    speeds: dict[tuple[str, ...], Speed] = {}  # runs with further seeds need fewer measurements, so their times differ
    found = []
    for run in prepared.runs:
        if run.is_done:
            found.append(Estimate(run=run, state="done", minutes=0.0))
            continue
        work = (run.variant.name, *run.missing)
        if work not in speeds:
            speeds[work] = measure_speed(run, prepared.val)
        found.append(estimate(run, speeds[work], len(prepared.val)))
    return found


def estimate(run: PlannedRun, speed: Speed, images: int) -> Estimate:
    """Extrapolate a speed to the remaining updates of a run and to `images` validation images."""
    measuring = speed.seconds_per_image * images
    if run.folder.is_trained:
        return Estimate(run=run, state="to measure", minutes=measuring / 60)
    rows = read_csv(run.folder.training / "train.csv") if run.folder.is_begun else []
    done = int(rows[-1]["step"]) if rows else 0
    state = f"to resume at {100 * done // speed.updates} %" if done else "to train"
    training = speed.seconds_per_update * (speed.updates - done)
    return Estimate(run=run, state=state, minutes=(training + measuring) / 60)


def measure_speed(run: PlannedRun, val: Annotations) -> Speed:
    """Time a few updates and a few validation images, as the study runs them."""
    batch = run.recipe.batch_size
    with trial_run(run.recipe) as trial:
        update = seconds_per_update(trial)
        loader = list(islice(evaluation_loader(val, batch, 0), -(-_IMAGES // batch)))
        model = trial.model.eval()
        settings = [setting for setting in run.settings if not setting.of_cascade]
        start = time.perf_counter()
        detect_and_localize(model, loader, settings, run.localization_steps)
        measured = time.perf_counter() - start
    image = measured / max(1, sum(len(images) for images, _ in loader))
    return Speed(seconds_per_update=update, updates=trial.total_steps, seconds_per_image=image)
