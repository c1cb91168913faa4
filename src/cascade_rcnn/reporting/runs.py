"""The folder of a training run."""

from pathlib import Path
from typing import NamedTuple

from cascade_rcnn.data import Annotations
from cascade_rcnn.engine.training.data import val_annotations
from cascade_rcnn.engine.training.state import DETECTIONS
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import load_detections
from cascade_rcnn.evaluation.coco import Array
from cascade_rcnn.files import read_json
from cascade_rcnn.models.checkpoint import read_config
from cascade_rcnn.recipes import Recipe, read_recipe
from cascade_rcnn.reporting.analysis import Training
from cascade_rcnn.reporting.curves import read_curves


class Run(NamedTuple):
    """A training run."""

    folder: Path
    recipe: Recipe
    checkpoint: Path  # of the best epoch, or of the last if none was evaluated
    epoch: int | None  # of the best checkpoint

    @property
    def detections(self) -> Path:
        """The detections of the best checkpoint on the validation data, which the run has kept."""
        return self.folder / DETECTIONS

    def validation(self) -> Annotations:
        """Read the validation data. Raises UserError if there is none, or it is not where it was."""
        if not self.recipe.data.val:
            raise UserError(f"{self.folder}: was trained without validation data; give --data")
        try:
            found = val_annotations(self.recipe.data, [c.name for c in read_config(self.checkpoint).categories])
        except UserError as error:
            reason = str(error).rpartition("; ")[0] or str(error)
            raise UserError(f"{self.folder}: its validation data cannot be read ({reason}); give --data") from None
        assert found is not None  # it is named
        return found

    def training(self) -> Training | None:
        """Return the curves, and what was trained on; None if there are none."""
        curves = read_curves(self.folder)
        if curves is None:
            return None
        recipe = self.recipe
        images = curves.updates * recipe.batch_size * recipe.accumulate * recipe.devices / max(1, curves.epochs)
        return Training(curves=curves, images=round(images), min_size=read_config(self.checkpoint).preprocess.min_size)

    def described(self) -> str:
        """Name the run, and the epoch of its checkpoint."""
        at = "" if self.epoch is None else f", epoch {self.epoch} of {self.recipe.epochs}"
        return f"{self.folder} ({self.checkpoint.name}{at})"


def open_run(folder: str | Path) -> Run:
    """Open the folder of a run. Raises UserError if it is not one, or has no checkpoint yet."""
    folder = Path(folder).expanduser()
    if not (folder / "recipe.json").is_file():
        raise UserError(f"{folder}: not a training's folder (it has no recipe.json); give what train --output wrote")
    recipe = read_recipe(folder / "recipe.json")
    best, last = folder / "best.safetensors", folder / "last.safetensors"
    if best.is_file():
        return Run(folder, recipe, best, int(read_json(folder / "best.json")["epoch"]))
    if last.is_file():
        return Run(folder, recipe, last, None)
    raise UserError(f"{folder}: has no checkpoint yet; let it finish an epoch first")


def kept_detections(run: Run, truth: Annotations) -> Array | None:
    """Return the detections that the run has kept; None if there are none."""
    return load_detections(run.detections, truth) if run.detections.is_file() else None
