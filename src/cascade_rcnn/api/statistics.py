"""Statistics of each stage's regression targets."""

from pathlib import Path

from cascade_rcnn.api.notes import tell
from cascade_rcnn.data import load_annotations
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.engine.datasets import as_dataset
from cascade_rcnn.engine.evaluate import measure_targets
from cascade_rcnn.evaluation.quality import RegressionTargets
from cascade_rcnn.images.decoding import MAX_MEGAPIXELS
from cascade_rcnn.models.checkpoint import read_config


def target_statistics(
    checkpoint: str | Path,
    annotations: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    batch_size: int = 1,
    workers: int = 2,
    device: str | None = None,
    bad_images: BadImages = "stop",
    max_megapixels: float = MAX_MEGAPIXELS,
) -> RegressionTargets:
    """Measure the mean and standard deviation of the regression targets of each stage of a checkpoint.

    `annotations`, `images` and `split` are as in `load_annotations`; the other settings are as in `evaluate`. The
    `mean` and `std` of the result, (T, 4) each, are values for the training options `stage_means` and `stage_stds`.
    Raises UserError if model and data do not match, or something cannot be read.

    >>> targets = target_statistics("starter", "people.json", workers=0)
    >>> len(targets.mean), len(targets.std[0])
    (3, 4)
    """
    classes = read_config(checkpoint).class_names
    truth = load_annotations(annotations, images, split, classes, bad_images=bad_images)
    truth = as_dataset(truth, bad_images=bad_images, max_megapixels=max_megapixels, evaluated=True).annotations
    found = measure_targets(checkpoint, truth, batch_size, workers, device)
    tell([*truth.notes, *([found.note] if found.note else [])])
    return found
