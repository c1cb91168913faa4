"""Which runs may stand in one report: those that differ in what the report compares, and in nothing else."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from cascade_rcnn.errors import UserError
from cascade_rcnn.studies.runs import TABLE3, family_of

Record: TypeAlias = dict[str, Any]  # a training.json

_OF_THE_MODEL = ("model", "options", "pretrained", "optimizer")  # settings that differ within a study
_OF_THE_STAGES = (  # options that differ within a family
    *("stages", "stage_ious", "stage_stds", "stage_means"),
    *("iterations", "test_stage", "ensemble", "ensemble_rois"),
)


def check_alike(records: Sequence[Record], folder: Path) -> None:
    """All share data, schedule and semantics; the runs of a family their network; those of a variant their stages.

    Table 3's rows share an optimizer, and all others do.
    Raises UserError naming two runs and the settings in which they differ.
    """
    groups: tuple[tuple[Callable[[Record], str], Callable[[Record], Record]], ...] = (
        (lambda record: "", _of_all),
        (lambda record: str(record["name"] in TABLE3), lambda record: {"optimizer": record["settings"]["optimizer"]}),
        (lambda record: family_of(record["name"]), _of_a_family),
        (lambda record: record["name"], _of_a_variant),
    )
    for group, shared in groups:
        first: dict[str, Record] = {}
        for record in records:
            one = first.setdefault(group(record), record)
            there, here = shared(one), shared(record)
            if differing := [name for name in there if there[name] != here.get(name)]:
                names = " and ".join(f"{r['name']}-seed{r['seed']}" for r in (one, record))
                raise UserError(
                    f"{folder}: {names} differ in {', '.join(differing)}; keep studies in folders of their own"
                )


def _of_all(record: Record) -> Record:
    data = {f"{split} data": part["id"] for split, part in record["data"].items()}
    settings = {name: value for name, value in record["settings"].items() if name not in _OF_THE_MODEL}
    return data | settings | {"options.semantics": record["settings"]["options"]["semantics"]}


def _of_a_family(record: Record) -> Record:
    options = record["settings"]["options"].items()
    shared = {f"options.{name}": value for name, value in options if name not in _OF_THE_STAGES}
    return shared | {"pretrained": record["settings"]["pretrained"]}


def _of_a_variant(record: Record) -> Record:
    options = record["settings"]["options"].items()
    return {f"options.{name}": value for name, value in options} | {"model": record["settings"]["model"]}
