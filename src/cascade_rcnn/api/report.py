"""Reports that explain the AP of a training run, and comparisons of two runs."""

from pathlib import Path

from cascade_rcnn.api.models import Opened, open_model
from cascade_rcnn.api.notes import tell
from cascade_rcnn.arguments import as_path
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.load import check_only_of_files
from cascade_rcnn.data.loader import check_loading
from cascade_rcnn.engine.datasets import Data, as_dataset, meaning
from cascade_rcnn.engine.evaluate import check_classes, collect, evaluation_loader
from cascade_rcnn.engine.predictor import Precision
from cascade_rcnn.evaluation.coco import crowding_notes
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.evaluation.detections import load_detected
from cascade_rcnn.evaluation.masks import unmeasured
from cascade_rcnn.outputs import check_outputs
from cascade_rcnn.recipes import DataConfig
from cascade_rcnn.reporting.comparison import check_same_data
from cascade_rcnn.reporting.files import Report, report_files
from cascade_rcnn.reporting.make import STAGE_IMAGES, make, make_comparison
from cascade_rcnn.reporting.runs import Run, kept_detections, open_run
from cascade_rcnn.text import count


def report(
    run: str | Path,
    *,
    data: Data | None = None,
    images: str | Path | None = None,
    split: str | None = None,
    checkpoint: str | Path | None = None,
    detections: str | Path | None = None,
    output: str | Path | None = None,
    threshold: float | None = None,
    stage_images: int = STAGE_IMAGES,
    batch_size: int = 1,
    workers: int = 2,
    device: str | None = None,
    precision: Precision = "fp32",
    bad_images: BadImages | None = None,
) -> Report:
    """Write report.html, which explains the AP of a training run and suggests improvements, and report.json.

    `run` is the folder of a run. Its best checkpoint and validation data are used unless `checkpoint` or `data` (with
    `images` and `split`, as in `evaluate`) are given. If the run has stored its detections, or `detections` is a
    COCO results file, the model is only run on `stage_images` images to measure the effect of each stage (0: none).
    `threshold` is the minimum score of the detections shown; default: the one with the highest F1 at IoU 0.5.
    `batch_size`, `workers`, `device`, `precision` and `bad_images` are as in `evaluate`; by default, the images that
    the run skipped are skipped. The files are written to `output`; default: `run`/report. Raises UserError if anything
    cannot be read.

    >>> _ = train("recipe.json", data="shapes", epochs=1, output="runs/reported")
    >>> made = report("runs/reported", workers=0)
    >>> made.page.name, made.numbers.name
    ('report.html', 'report.json')
    """
    check_loading(batch_size, workers)
    opened = open_run(run)
    folder = opened.folder / "report" if output is None else as_path("output", output)
    check_outputs(report_files(folder), (data, images, checkpoint, detections))
    model = open_model(checkpoint or opened.checkpoint, device=device, precision=precision)
    dataset, every, notes = _dataset(opened, model, data, images, split, bad_images)
    tell(notes)
    own = data is None and checkpoint is None
    found = None
    if detections is not None:
        found = load_detected(detections, every).in_images(dataset.annotations.image_ids.numpy())
    if found is None and own:
        found = _kept(opened, dataset)
    if found is None:
        found = _detect(model, dataset, batch_size, workers)
    return make(
        dataset,
        found,
        folder,
        facts={"run": opened.described()} if checkpoint is None else {"run": str(run), "model": str(checkpoint)},
        model=model.detector,
        precision=precision,
        training=opened.training(),
        threshold=threshold,
        stage_images=stage_images,
    )


def compare(
    a: str | Path,
    b: str | Path,
    *,
    data: Data | None = None,
    images: str | Path | None = None,
    split: str | None = None,
    output: str | Path | None = None,
    batch_size: int = 1,
    workers: int = 2,
    device: str | None = None,
    precision: Precision = "fp32",
    bad_images: BadImages | None = None,
) -> Report:
    """Write report.html, which compares the best checkpoints of two training runs on the same data, and report.json.

    Differences in AP are `b` minus `a`, with 95 % intervals from a paired bootstrap over images if there are at least
    ten; the page also shows the images on which `b` is better and worse. A model is only run if `data` is given (with
    `images` and `split`, as in `evaluate`) or its run has not stored its detections; the other settings are as in
    `report`. The files are written to `output`; default: `b`/report_NAME, where NAME is the folder name of `a`.
    Raises UserError if the two runs were validated on different data and no `data` is given.

    >>> runs = [train("recipe.json", data="shapes", epochs=1, seed=k, output=f"runs/seed{k}").output for k in (0, 1)]
    >>> compare(*runs, workers=0).page.parent.name
    'report_seed0'
    """
    check_loading(batch_size, workers)
    runs = open_run(a), open_run(b)
    folder = runs[1].folder / f"report_{runs[0].folder.resolve().name}" if output is None else as_path("output", output)
    check_outputs(report_files(folder), (data, images))
    models = [open_model(run.checkpoint, device=device, precision=precision) for run in runs]
    (first, _, notes), (second, _, others) = (
        _dataset(run, model, data, images, split, bad_images) for run, model in zip(runs, models, strict=True)
    )
    tell(dict.fromkeys([*notes, *others]))
    check_same_data(first.annotations, second.annotations)
    found = []
    for run, model, dataset in zip(runs, models, (first, second), strict=True):
        kept = _kept(run, dataset) if data is None else None
        found.append(_detect(model, dataset, batch_size, workers) if kept is None else kept)
    return make_comparison(
        (first, second),
        (found[0], found[1]),
        folder,
        names=_names(runs[0].folder, runs[1].folder),
    )


def _dataset(
    run: Run,
    model: Opened,
    data: Data | None,
    images: str | Path | None,
    split: str | None,
    bad_images: BadImages | None,
) -> tuple[Dataset, Annotations, list[str]]:
    """Open the given data, or the run's validation data.

    Also returns its annotations together with those of unusable images, which are left out, and the notes of given
    data; those of its own data have been printed by the run.
    """
    check_only_of_files(data, images=images, split=split)
    settings = run.recipe.data if data is None else DataConfig()
    bad_images = bad_images or settings.bad_images
    if isinstance(data, str | Path):
        masks = model.config.has_masks
        data = load_annotations(data, images, split, model.class_names, masks=masks, bad_images=bad_images)
    measured = run.validation(bad_images) if data is None else data
    labels = meaning(None, model.config.categories)
    dataset = as_dataset(
        measured,
        labels,
        masks=model.config.has_masks,
        bad_images=bad_images,
        max_megapixels=settings.max_megapixels,
        evaluated=True,
    )
    check_classes(model.config, dataset.annotations, model.name)
    notes: list[str] = []
    if data is not None:
        most = model.config.inference.max_detections
        notes = [*dataset.annotations.notes, *crowding_notes(dataset.annotations, most=most)]
        notes += unmeasured(dataset.annotations) if model.config.has_masks else []
    every = measured.declaring(model.config.categories) if isinstance(measured, Annotations) else dataset.annotations
    return dataset, every, notes


def _kept(run: Run, dataset: Dataset) -> Detected | None:
    """Return the detections stored by the run; None, with a note, if it was evaluated on another number of images."""
    evaluated, images = run.images, len(dataset)
    if evaluated in (None, images):
        return kept_detections(run, dataset.annotations)
    tell([f"{run.folder}: was evaluated on {count(evaluated, 'image')}, not {images}, so the model is run again"])
    return None


def _detect(model: Opened, dataset: Dataset, batch_size: int, workers: int) -> Detected:
    loader = evaluation_loader(dataset.with_segmentations(None), batch_size, workers)
    return collect(model.detect, model.config, loader, len(dataset))


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Return the folder names, or the paths if the names are the same."""
    one, other = a.resolve(), b.resolve()
    return (one.name, other.name) if one.name != other.name else (str(a), str(b))
