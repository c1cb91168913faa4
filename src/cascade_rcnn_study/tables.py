"""Tables 1 to 6 of the paper from the runs of a study, with the paper's own rows."""

from collections.abc import Callable
from dataclasses import dataclass

from cascade_rcnn_study import published
from cascade_rcnn_study.artifacts import MASK_TABLE
from cascade_rcnn_study.published import ABLATION, COST, OVERVIEW
from cascade_rcnn_study.study_folder import RECORD, StudyFolder
from cascade_rcnn_study.table_rows import Row, RowBuilder, Source
from cascade_rcnn_study.training_record import Record
from cascade_rcnn_study.variants import MASKS, TABLE3, family_of


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, ready to be written."""

    name: str
    title: str
    note: str  # the section of the paper, the meaning of the rows, and how they were measured
    heads: tuple[str, ...]  # headings of the labels
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    reference: str | None = None  # the row that the others are compared with


BASELINE = Source("baseline", "default")
CASCADE = Source("cascade", "stages1-3")


def table1(rows: RowBuilder) -> Table:
    """Compare the cascade with iterative BBox and integral loss (section 5.3)."""
    methods = (
        ("baseline", "Baseline", BASELINE),
        ("iterative", "Iterative BBox", Source("baseline", "iterations3")),
        ("integral", "Integral loss", Source("integral", "default")),
        ("cascade", "Cascade R-CNN", CASCADE),
    )
    return Table(
        name="table1",
        title="Table 1: comparison with iterative BBox and integral loss",
        note="Section 5.3. Iterative BBox applies the head of the baseline's checkpoint three times. Integral loss "
        "averages its classifiers, trained with U = {.5, .6, .7}. The cascade averages its three classifiers on the "
        "boxes that enter its third stage (1~3 in Table 2).",
        heads=("method",),
        columns=ABLATION,
        rows=tuple(rows.row([label], source, published.TABLE1[k], ABLATION, BASELINE) for k, label, source in methods),
        reference="baseline",
    )


def table2(rows: RowBuilder) -> Table:
    """Evaluate the stages of the cascade alone and together (section 5.4)."""
    stages = {str(t): Source("cascade", f"stage{t}") for t in (1, 2, 3)}
    averages = {f"1~{t}": Source("cascade", f"stages1-{t}") for t in (2, 3)}
    sources = {**stages, **averages, "baseline": BASELINE}
    return Table(
        name="table2",
        title="Table 2: stage performance of the cascade",
        note="Section 5.4. Row t uses the classifier and regressor of stage t on the boxes that enter it. Row 1~t uses "
        "the mean of classifiers 1 to t, all on the boxes that enter stage t (as the paper's caption says of 1~3).",
        heads=("test stage",),
        columns=ABLATION,
        rows=tuple(rows.row([k], source, published.TABLE2[k], ABLATION, BASELINE) for k, source in sources.items()),
        reference="baseline",
    )


def table3(rows: RowBuilder) -> Table:
    """Train without increasing IoU thresholds, and without per-stage statistics (section 5.4)."""
    optimizers = [_optimizer(rows.folder, name) for name in TABLE3]
    one = next((found for found in optimizers if found is not None), None)
    names = {choice: name for name, choice in TABLE3.items()}
    if optimizers[-1] is None and one is not None and _optimizer(rows.folder, "cascade") == one:
        names[True, True] = "cascade"  # trained like the other rows
    first = Source("cascade-plain", "stages1-3")
    tick = {True: "yes", False: "-"}
    return Table(
        name="table3",
        title="Table 3: increasing IoU thresholds and regression statistics",
        note=" ".join((_TABLE3, *_trained_by(one))),
        heads=("IoU up", "stat"),
        columns=ABLATION,
        rows=tuple(
            rows.row([tick[up], tick[stat]], Source(name, "stages1-3"), published.TABLE3[up, stat], ABLATION, first)
            for (up, stat), name in names.items()
        ),
        reference="the first row",
    )


_TABLE3 = (
    "Section 5.4. With IoU up, u is .5, .6 and .7; without, it is .5 at every stage. With stat, the regression targets "
    "of each stage are normalised by its own mean and standard deviation; without, by those of the first stage. All "
    "rows are tested as 1~3."
)
_BY_ADAMW = (
    "These rows were trained with AdamW, whose steps do not depend on the scale of a loss, so they show little of the "
    "effect of the statistics."
)


def _trained_by(optimizer: Record | None) -> tuple[str, ...]:
    """Say how the rows of Table 3 were trained, since the other runs of a study may use another optimizer."""
    if optimizer is None:
        return ()
    if optimizer["name"] == "adamw":
        return (_BY_ADAMW,)
    return (f"These rows were trained with SGD, learning rate {optimizer['lr']:g} for {optimizer['lr_batch']} images.",)


def _optimizer(folder: StudyFolder, variant: str) -> Record | None:
    record = _first_record(folder, variant)
    return None if record is None else record["settings"]["optimizer"]


def table4(rows: RowBuilder) -> Table:
    """Vary the number of stages (section 5.4)."""
    sources = {
        (1, "1"): BASELINE,
        (2, "1~2"): Source("cascade-2", "stages1-2"),
        (3, "1~3"): CASCADE,
        (4, "1~3"): Source("cascade-4", "stages1-3"),
        (4, "1~4"): Source("cascade-4", "stages1-4"),
    }
    return Table(
        name="table4",
        title="Table 4: number of stages",
        note="Section 5.4. The fourth stage has u = .75. Its target statistics were not published; here they continue "
        "the series of the first three. 1~t is the same as in Table 2.",
        heads=("stages", "test stage"),
        columns=ABLATION,
        rows=tuple(
            rows.row([str(number), test], source, published.TABLE4[number, test], ABLATION, BASELINE)
            for (number, test), source in sources.items()
        ),
        reference="one stage",
    )


def masks(rows: RowBuilder) -> Table:
    """Vary the number of stages of models with masks."""
    first = Source(MASKS[1], "stages1-1")
    return Table(
        name=MASK_TABLE,
        title="Boxes and masks by number of stages",
        note="This table is not in the paper, whose detectors have no masks. It compares Mask R-CNN and its cascades, "
        "trained like those in Table 4. Classifiers are averaged as in its rows 1~t, and so are the mask heads of all "
        "stages that have one. Box AP is followed by mask AP, for which IoU is computed from pixels.",
        heads=("stages",),
        columns=published.MASKS,
        rows=tuple(
            rows.row([str(number)], Source(name, f"stages1-{number}"), {}, published.MASKS, first)
            for number, name in MASKS.items()
        ),
        reference="one stage",
    )


def table5(rows: RowBuilder) -> Table:
    """List the published rows, followed by those of the study (section 5.5)."""
    theirs = [Row(labels=names, paper=values) for names, values in published.TABLE5.items()]
    labels = (("baseline of this study", BASELINE), ("cascade of this study", CASCADE))
    ours = [rows.row([label, _model_of(rows.folder, source)], source, {}, OVERVIEW) for label, source in labels]
    return Table(
        name="table5",
        title="Table 5: single-model detectors as published",
        note="Section 5.5. The paper's rows were measured on COCO test-dev, and those of this study on its own "
        "validation set, so the latter can be compared only with each other.",
        heads=("detector", "backbone"),
        columns=OVERVIEW,
        rows=(*theirs, *ours),
    )


def table6(rows: RowBuilder) -> Table:
    """Compare detectors with and without cascade in AP, speed and size (section 5.6)."""
    columns = (*COST, *OVERVIEW)
    ours = []
    for prefix in _families(rows.folder):
        reference = Source(f"{prefix}baseline", "default")
        for tick, source in (("-", reference), ("yes", Source(f"{prefix}cascade", "stages1-3"))):
            labels = (_model_of(rows.folder, source), tick)
            ours.append(rows.row(labels, source, {}, columns, reference))
    theirs = [
        Row(labels=(f"{detector}, {backbone}", "yes" if cascade else "-"), paper=values)
        for (detector, backbone, cascade), values in published.TABLE6.items()
    ]
    return Table(
        name="table6",
        title="Table 6: baseline detectors with and without cascade",
        note="Section 5.6. Seconds per image are measured in training over a few updates at the batch size of the run, "
        "and at test as the median over single images, from pixels to boxes. param is the size of the fp32 weights. "
        "The paper's times were measured on one Titan Xp, and its AP on COCO val. Detectors whose backbone or width "
        "differs from the paper's have separate rows.",
        heads=("detector", "cascade"),
        columns=columns,
        rows=(*ours, *theirs),
        reference="its baseline",
    )


def _families(folder: StudyFolder) -> list[str]:
    """Return the prefixes of the variants' names: the base recipe's, then those of trained families."""
    families = {family_of(run.name) for run in folder.trained()} - {""}
    return ["", *(f"{family}-" for family in sorted(families))]


def _model_of(folder: StudyFolder, source: Source) -> str:
    record = _first_record(folder, source.variant)
    return source.variant if record is None else record["model"]


def _first_record(folder: StudyFolder, variant: str) -> Record | None:
    """Return the training record of a variant's first run; None if there is no run."""
    return next((run.read(RECORD) for run in folder.of(variant)), None)


TABLES: dict[str, Callable[[RowBuilder], Table]] = {
    **{table.__name__: table for table in (table1, table2, table3, table4, table5, table6)},
    MASK_TABLE: masks,
}
