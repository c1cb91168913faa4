"""Check that the runs of a report differ only in what it compares."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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
        (lambda record: family_of(record["name"]), _shared_by_family),
        (lambda record: record["name"], _shared_by_variant),
    )
    for group, shared in groups:
        first: dict[str, Record] = {}
        for record in records:
            one = first.setdefault(group(record), record)
            there, here = shared(one), shared(record)
            if differing := [name for name in there if _differ(name, there[name], here.get(name))]:
                names = " and ".join(f"{r['name']}-seed{r['seed']}" for r in (one, record))
                raise UserError(
                    f"{folder}: {names} differ in {', '.join(differing)}; use a separate folder for each study"
                )


def _differ(name: str, one: Any, other: Any) -> bool:
    unknown = name == "weights" and None in (one, other)  # none, or a run of an earlier version
    return one != other and not unknown


def _shared_by_all(record: Record) -> Record:
    data = {f"{split} data": part["id"] for split, part in record["data"].items()}
    settings = {name: value for name, value in record["settings"].items() if name not in _OF_THE_MODEL}
    return data | settings | {"options.semantics": record["settings"]["options"]["semantics"]}


def _shared_by_family(record: Record) -> Record:
    options = record["settings"]["options"].items()
    shared = {f"options.{name}": value for name, value in options if name not in _OF_THE_STAGES}
    settings, network = record["settings"], sibling(record["settings"]["model"], "faster_rcnn")
    return shared | {"backbone": network, "pretrained": settings["pretrained"], "weights": settings.get("weights")}


def _shared_by_variant(record: Record) -> Record:
    options = record["settings"]["options"].items()
    return {f"options.{name}": value for name, value in options} | {"model": record["settings"]["model"]}
