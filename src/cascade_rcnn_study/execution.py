"""Train and measure what is missing in a study."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from cascade_rcnn.devices import choose_device
from cascade_rcnn.engine import environment
from cascade_rcnn.engine.evaluate import evaluation_loader
from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.engine.training.train import train
from cascade_rcnn.evaluation.masks import evaluate_detected
from cascade_rcnn.files import remove_leftovers
from cascade_rcnn.locks import locked
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.text import count
from cascade_rcnn_study.devices import Job, environments, run_jobs
from cascade_rcnn_study.evaluation import detect_and_localize
from cascade_rcnn_study.match_files import save_matches
from cascade_rcnn_study.outputs import detection_outputs
from cascade_rcnn_study.preparation import PreparedStudy, prepare_study
from cascade_rcnn_study.sample_statistics import sample_statistics
from cascade_rcnn_study.study import PlannedRun, Study, planned_runs
from cascade_rcnn_study.timing import detection_seconds_per_image, training_seconds_per_image
from cascade_rcnn_study.training_record import write_record

Say = Callable[[str], None]


def run_study(study: Study, say: Say = print) -> None:
    """Train and measure whatever is missing; with several `devices`, as many models at a time.

    Raises `Interrupted` when the user stops it; the same call continues from there.
    """
    prepared = prepare_study(study)
    say(f"{count(len(prepared.runs), 'run')}, {sum(run.is_done for run in prepared.runs)} of them done")
    if study.base.devices > 1:
        run_jobs(_jobs(prepared), environments(study.base.devices, study.base.accelerator), say)
        prepared = replace(prepared, runs=planned_runs(study))
    for run in prepared.runs:
        if not run.is_done:
            say(_title(run, prepared))
            _train_and_measure(run, prepared, say)


def _title(run: PlannedRun, prepared: PreparedStudy) -> str:
    number = 1 + [one.folder for one in prepared.runs].index(run.folder)
    return f"run {number}/{len(prepared.runs)}: {run.variant.title}, seed {run.folder.seed}"


def _jobs(prepared: PreparedStudy) -> list[Job]:
    """Return all work except measuring speed, which is done when nothing else runs."""
    jobs = []
    for run in prepared.runs:
        quick = replace(run, missing=[name for name in run.missing if name != "speed"])
        if quick.is_done:
            continue
        jobs.append(
            Job(
                name=run.folder.path.name,
                title=_title(run, prepared),
                log=run.folder.path / "log.txt",
                work=partial(_train_and_measure, quick, prepared, print),
                after=f"cascade-seed{run.folder.seed}" if run.needs_cascade else None,
            )
        )
    return jobs


def _train_and_measure(run: PlannedRun, prepared: PreparedStudy, say: Say) -> None:
    with locked(run.folder.path):
        remove_leftovers(run.folder.path)  # of a killed process
        if not run.folder.is_trained:
            _train(run, prepared)
        if run.folder.checkpoint.is_file():
            _measure(run, prepared, say)
        else:
            say(f"  no checkpoint in {run.folder.training}: {', '.join(run.missing)} cannot be measured")


def _train(run: PlannedRun, prepared: PreparedStudy) -> None:
    try:
        train(run.recipe, resume=run.folder.is_begun)
    except Interrupted:
        raise Interrupted("stopped and saved; run the same command to continue") from None
    write_record(run.folder, run.variant, run.recipe, prepared.train_set, prepared.val)


def _measure(run: PlannedRun, prepared: PreparedStudy, say: Say) -> None:
    """Write the missing measurements of a trained run."""
    folder, recipe = run.folder, run.recipe
    device = choose_device("cpu" if recipe.accelerator == "cpu" else None)
    model = load(folder.checkpoint, device=device, **run.variant.settings[0].inference)
    run, cascade = _with_cascade(run, prepared, device, say)
    if "speed" in run.missing:
        speed = {
            "training_seconds_per_image": training_seconds_per_image(recipe),
            "test_seconds_per_image": detection_seconds_per_image(model, prepared.val),
        }
        folder.write("speed.json", speed | {"device": str(device), "machine": environment.describe()})
    if "samples" in run.missing:
        number = prepared.study.sample_images
        samples = sample_statistics(model, prepared.train_set, number, recipe.batch_size, recipe.workers)
        folder.write("samples.json", samples)
    if "outputs" in run.missing:
        folder.write("outputs.json", detection_outputs(model, prepared.val))
    if run.settings or run.localization_steps:
        _evaluate(run, prepared, model, cascade)


def _with_cascade(
    run: PlannedRun, prepared: PreparedStudy, device: torch.device, say: Say
) -> tuple[PlannedRun, Detector | None]:
    """Load the cascade whose boxes the run is evaluated on; without its checkpoint, drop the settings that need it."""
    settings = [setting.name for setting in run.settings if setting.of_cascade]
    if not settings:
        return run, None
    checkpoint = prepared.study.folder.run("cascade", run.folder.seed).checkpoint
    if checkpoint.is_file():
        return run, load(checkpoint, device=device)
    say(f"  {checkpoint} does not exist: Figure 5 (a) will lack the curves on the cascade's boxes")
    return replace(run, missing=[name for name in run.missing if name not in settings]), None


def _evaluate(run: PlannedRun, prepared: PreparedStudy, model: Detector, cascade: Detector | None) -> None:
    """Write localization curves, detections and metrics in a single pass over the validation images."""
    val, folder = prepared.val, run.folder
    loader = evaluation_loader(val, run.recipe.batch_size, run.recipe.workers)
    found, curve = detect_and_localize(
        model, loader, run.settings, run.localization_steps, cascade=cascade, number=len(val)
    )
    if curve is not None:
        folder.write("localization.json", curve.to_dict())
    for name, detections in found.items():
        save_matches(folder.detections(name), val, detections.rows)
        folder.write_metrics(name, evaluate_detected(val, detections))
