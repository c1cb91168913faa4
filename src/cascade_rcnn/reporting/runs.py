"""The folder of a training run."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cascade_rcnn.arguments import as_path
from cascade_rcnn.data import Annotations
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.engine.training.data import val_annotations
from cascade_rcnn.engine.training.state import DETECTIONS
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.evaluation.detections import load_detected
from cascade_rcnn.files import read_json
from cascade_rcnn.models.checkpoint import read_config
from cascade_rcnn.recipes import Recipe, read_recipe
from cascade_rcnn.reporting.analysis import Training
from cascade_rcnn.reporting.curves import Curves, read_curves


class Run(NamedTuple):
    """A training run, read from its folder."""

    folder: Path
    recipe: Recipe
    checkpoint: Path  # of the best epoch, or the last one if none was evaluated
    epoch: int | None  # of the best checkpoint; None if none was evaluated

    @property
    def detections(self) -> Path:
        """The file with the best checkpoint's detections on the validation data."""
        return self.folder / DETECTIONS

    @property
    def images(self) -> int | None:
        """The number of images on which the best checkpoint was evaluated; None if it is unknown."""
        best = self.folder / "best.json"
        return read_json(best).get("images") if best.is_file() else None

    def validation(self, bad_images: BadImages) -> Annotations:
        """Read the validation data, with masks if the model predicts any. Raises UserError if it cannot be read."""
        if not self.recipe.data.val:
            raise UserError(f"{self.folder}: this run was trained without validation data; give --data")
        data = replace(self.recipe.data, bad_images=bad_images)
        try:
            config = read_config(self.checkpoint)
            found = val_annotations(data, config.class_names, masks=config.has_masks)
        except UserError as error:
            reason = str(error).rpartition("; ")[0] or str(error)
            raise UserError(f"{self.folder}: cannot read the run's validation data ({reason}); give --data") from None
        assert found is not None  # since data.val is set
        return found

    def training(self) -> Training | None:
        """Return the training curves and image sizes; None before the first update."""
        curves = read_curves(self.folder)
        if curves is None:
            return None
        min_size = read_config(self.checkpoint).preprocess.min_size
        return Training(curves=curves, images=self._training_images(curves), min_size=min_size)

    def _training_images(self, curves: Curves) -> int:
        """Return the number of training images; without that of an ended run, an estimate from the images seen."""
        results, recipe = self.folder / "results.json", self.recipe
        counted = read_json(results) if results.is_file() else {}
        if "training_images" in counted:
            return int(counted["training_images"])
        seen = curves.updates * recipe.batch_size * recipe.accumulate * recipe.devices  # torchrun may start more
        if counted.get("updates") == curves.updates and "images" in counted:
            seen = int(counted["images"])
        return round(seen / max(1, curves.epochs))

    def described(self) -> str:
        """Describe the run: its folder, checkpoint and epoch."""
        at = "" if self.epoch is None else f", epoch {self.epoch} of {self.recipe.epochs}"
        return f"{self.folder} ({self.checkpoint.name}{at})"


def open_run(folder: str | Path) -> Run:
    """Open the folder of a training run. Raises UserError if it is not one, or has no checkpoint yet."""
    folder = as_path("run", folder).expanduser()
    if not (folder / "recipe.json").is_file():
        raise UserError(f"{folder}: not the folder of a training run (no recipe.json); give the --output of `train`")
    recipe = read_recipe(folder / "recipe.json")
    best, last = folder / "best.safetensors", folder / "last.safetensors"
    metrics = folder / "best.json"
    if best.is_file() and (metrics.is_file() or not last.is_file()):  # a run that is going on writes the metrics last
        return Run(folder, recipe, best, int(read_json(metrics)["epoch"]))
    if last.is_file():
        return Run(folder, recipe, last, None)
    raise UserError(f"{folder}: this run has no checkpoint yet; wait until it finishes an epoch")


def kept_detections(run: Run, truth: Annotations) -> Detected | None:
    """Load the detections stored by the run; return None if there are none."""
    return load_detected(run.detections, truth) if run.detections.is_file() else None
