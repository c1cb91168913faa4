"""Check everything that can be checked before hours of training: the data, finished runs, and the models' weights."""

from dataclasses import dataclass

from cascade_rcnn.data import Annotations
from cascade_rcnn.engine.training.data import read_data
from cascade_rcnn.engine.training.prepare import build_model
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.architectures import has_masks
from cascade_rcnn_study.comparability import check_comparable
from cascade_rcnn_study.study import PlannedRun, Study, planned_runs
from cascade_rcnn_study.training_record import check_reusable, data_id, masks_id, planned_record, read_records


@dataclass(frozen=True)
class PreparedStudy:
    """A study with its runs and its data."""

    study: Study
    runs: list[PlannedRun]
    train_set: Annotations
    val: Annotations


def prepare_study(study: Study) -> PreparedStudy:
    """Plan the runs and read the data. Raises UserError for anything that would make a run fail later."""
    trained = read_records(study.folder)
    runs = planned_runs(study)
    if not study.base.data.train or not study.base.data.val:
        raise UserError("a study needs data: give --data.train ANNOTATIONS and --data.val ANNOTATIONS")
    sets = read_data(study.base, masks=any(has_masks(run.recipe.model) for run in runs))
    assert sets.val is not None  # data.val is given
    train_set, val = sets.train.annotations, sets.val.annotations
    both = {"train": train_set, "val": val}
    data = {split: {"id": data_id(truth), "masks": masks_id(truth)} for split, truth in both.items()}
    for run in runs:
        check_reusable(run.folder, run.recipe, data)
    untrained = [run for run in runs if not run.folder.is_trained]
    planned = [planned_record(run.folder, run.recipe, train_set, val) for run in untrained]
    check_comparable([*trained, *planned], study.folder.runs)  # as the report does at the end
    for recipe in {run.variant.name: run.recipe for run in untrained}.values():
        build_model(recipe, train_set.categories)  # fails if its backbone weights do not fit
    return PreparedStudy(study, runs, train_set, val)
