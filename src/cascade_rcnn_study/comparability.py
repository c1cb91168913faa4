"""Check that the runs of a report differ only in what it compares."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cascade_rcnn.errors import UserError
from cascade_rcnn.models.architectures import sibling
from cascade_rcnn_study.training_record import Record
from cascade_rcnn_study.variants import TABLE3, family_of

_OF_THE_MODEL = ("model", "options", "pretrained", "weights", "optimizer")  # settings that differ within a study
_OF_THE_STAGES = (  # options that differ within a family
    *("stages", "stage_ious", "stage_stds", "stage_means"),
    *("iterations", "test_stage", "ensemble", "ensemble_rois"),
)


def check_comparable(records: Sequence[Record], folder: Path) -> None:
    """Check that the runs are comparable.

    All runs must share data, schedule and semantics; those of a family must share the network, and those of a variant
    also the stages. The rows of Table 3 share one optimizer, and all other runs another. Raises UserError that names
    two runs and the settings in which they differ.
    """
    groups: tuple[tuple[Callable[[Record], str], Callable[[Record], Record]], ...] = (
        (lambda record: "", _shared_by_all),
        (lambda record: str(record["name"] in TABLE3), lambda record: {"optimizer": record["settings"]["optimizer"]}),
        (lambda record: str("masks" in record["data"]["train"]), _masks),  # an earlier version did not record them
        (lambda record: family_of(record["name"]), _shared_by_family),
        (lambda record: record["name"], _shared_by_variant),
    )
    for group, shared in groups:
        first: dict[str, Record] = {}
        for record in records:
            one = first.setdefault(group(record), record)
            _check_same(one, record, shared, folder)
            # Unknown weights, of runs without any or by an earlier version, are equal to all others.
            if shared(record).get("weights") is not None:
                known = first.setdefault(f"{group(record)}, weights", record)
                _check_same(known, record, shared, folder)


def _check_same(one: Record, other: Record, shared: Callable[[Record], Record], folder: Path) -> None:
    there, here = shared(one), shared(other)
    differing = [name for name in there if there[name] != here.get(name)]
    if "weights" in differing and None in (there["weights"], here.get("weights")):
        differing.remove("weights")
    if differing:
        names = " and ".join(f"{record['name']}-seed{record['seed']}" for record in (one, other))
        raise UserError(f"{folder}: {names} differ in {', '.join(differing)}; use a separate folder for each study")


def _shared_by_all(record: Record) -> Record:
    data = {f"{split} data": part["id"] for split, part in record["data"].items()}
    settings = {name: value for name, value in record["settings"].items() if name not in _OF_THE_MODEL}
    return data | settings | {"options.semantics": record["settings"]["options"]["semantics"]}


def _masks(record: Record) -> Record:
    return {f"masks of the {split} data": part.get("masks") for split, part in record["data"].items()}


def _shared_by_family(record: Record) -> Record:
    options = record["settings"]["options"].items()
    shared = {f"options.{name}": value for name, value in options if name not in _OF_THE_STAGES}
    settings, network = record["settings"], sibling(record["settings"]["model"], "faster_rcnn")
    return shared | {"backbone": network, "pretrained": settings["pretrained"], "weights": settings.get("weights")}


def _shared_by_variant(record: Record) -> Record:
    options = record["settings"]["options"].items()
    return {f"options.{name}": value for name, value in options} | {"model": record["settings"]["model"]}
