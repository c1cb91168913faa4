"""The paper's tables from a study's runs, the paper's own rows beside them."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from cascade_rcnn.studies import published
from cascade_rcnn.studies.bootstrap import Difference, paired, resampled
from cascade_rcnn.studies.runs import TABLE3, family_of
from cascade_rcnn.studies.store import RunFolder, Store

ABLATION, OVERVIEW, COST = published.ABLATION, published.OVERVIEW, published.COST
HEADS = {
    **{name: name.upper() for name in (*ABLATION, *OVERVIEW)},
    "ap_small": "APS",
    "ap_medium": "APM",
    "ap_large": "APL",
    "train": "train s/img",
    "test": "test s/img",
    "size": "param MiB",
}


@dataclass(frozen=True)
class Value:
    """A figure over the seeds: AP in percent, times in seconds, sizes in MiB."""

    mean: float
    std: float | None  # None with one seed
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: ours, the paper's, and ours minus the reference row's on the same images and seeds."""

    labels: tuple[str, ...]
    ours: Mapping[str, Value] = field(default_factory=dict)  # empty: not measured
    paper: Mapping[str, float] = field(default_factory=dict)  # empty: the paper has no such row
    difference: Mapping[str, Difference] = field(default_factory=dict)
    needs: str | None = None  # the run that would give ours; None: there is none to run


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, ready to be written."""

    name: str
    title: str
    note: str  # what it shows and how, with the paper's section
    heads: tuple[str, ...]  # of the labels
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    reference: str | None = None  # what the differences are to


@dataclass(frozen=True)
class Source:
    """Where a row comes from: a variant and the setting it is tested in."""

    variant: str
    setting: str


BASELINE = Source("baseline", "default")
CASCADE = Source("cascade", "stages1-3")


class Collector:
    """Rows from the runs of a store; what is resampled once is kept."""

    def __init__(self, store: Store, resamples: int) -> None:
        self.store = store
        self.resampled: Callable[[RunFolder, str], np.ndarray | None] = cache(self._resample)
        self.resamples = resamples

    def _resample(self, run: RunFolder, setting: str) -> np.ndarray | None:
        matches = run.matches(setting)
        return None if matches is None else resampled(matches, self.resamples)

    def row(
        self,
        labels: Sequence[str],
        source: Source,
        paper: Mapping[str, float],
        columns: Sequence[str],
        reference: Source | None = None,
    ) -> Row:
        """Our figures over every seed that is there, the paper's, and the difference to the reference."""
        runs = [self.store.run(source.variant, seed) for seed in self.store.seeds(source.variant)]
        per_seed = [values for run in runs if (values := _figures(run, source.setting)) is not None]
        ours = {name: _value([100 * x[name] for x in per_seed]) for name in columns if name not in COST}
        for name in set(COST) & set(columns):
            ours[name] = _value([x[name] for x in per_seed])
        difference = {} if reference is None or source == reference else self._difference(source, reference, columns)
        return Row(
            labels=tuple(labels),
            ours={name: value for name, value in ours.items() if value is not None},
            paper=paper,
            difference=difference,
            needs=source.variant,
        )

    def _difference(self, source: Source, reference: Source, columns: Sequence[str]) -> dict[str, Difference]:
        ours, theirs = [], []
        for seed in sorted({*self.store.seeds(source.variant)} & {*self.store.seeds(reference.variant)}):
            a = self.resampled(self.store.run(source.variant, seed), source.setting)
            b = self.resampled(self.store.run(reference.variant, seed), reference.setting)
            if a is not None and b is not None:
                ours, theirs = [*ours, a], [*theirs, b]
        names = [name for name in columns if name in ABLATION or name == "ap75"]
        return {name: paired(ours, theirs, name) for name in names} if ours else {}


def _figures(run: RunFolder, setting: str) -> dict[str, float] | None:
    """Every column of a run; None where the setting has not been measured."""
    metrics, training, speed = run.metrics(setting), run.read("training.json"), run.read("speed.json")
    if metrics is None or training is None:
        return None
    values = {name: getattr(metrics, name) for name in {*ABLATION, *OVERVIEW}}
    seconds = {kind: math.nan if speed is None else speed[f"{kind}_seconds_per_image"] for kind in ("training", "test")}
    return values | {"train": seconds["training"], "test": seconds["test"], "size": training["size_mib"]}


def _value(values: Sequence[float]) -> Value | None:
    known = [x for x in values if not math.isnan(x)]
    if not known:
        return None
    return Value(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def table1(collect: Collector) -> Table:
    """Table 1, section 5.3."""
    rows = (
        ("baseline", "Baseline", BASELINE),
        ("iterative", "Iterative BBox", Source("baseline", "iterations3")),
        ("integral", "Integral loss", Source("integral", "default")),
        ("cascade", "Cascade R-CNN", CASCADE),
    )
    return Table(
        name="table1",
        title="Table 1: comparison with iterative BBox and integral loss",
        note="Section 5.3. Iterative BBox is the baseline's checkpoint, its head applied three times; the integral "
        "loss has classifiers for U = {.5, .6, .7}, averaged; the cascade averages its three classifiers on the boxes "
        "that enter its third stage (Table 2's 1~3).",
        heads=("method",),
        columns=ABLATION,
        rows=tuple(collect.row([label], source, published.TABLE1[k], ABLATION, BASELINE) for k, label, source in rows),
        reference="baseline",
    )


def table2(collect: Collector) -> Table:
    """Table 2, section 5.4."""
    stages = {str(t): Source("cascade", f"stage{t}") for t in (1, 2, 3)}
    averages = {f"1~{t}": Source("cascade", f"stages1-{t}") for t in (2, 3)}
    rows = {**stages, **averages, "baseline": BASELINE}
    return Table(
        name="table2",
        title="Table 2: stage performance of the cascade",
        note="Section 5.4. Row t: the classifier of stage t on the boxes that enter it, with its boxes. 1~t: the mean "
        "of the classifiers 1..t, all on the boxes that enter stage t (the paper's caption says so of 1~3).",
        heads=("test stage",),
        columns=ABLATION,
        rows=tuple(collect.row([k], source, published.TABLE2[k], ABLATION, BASELINE) for k, source in rows.items()),
        reference="baseline",
    )


def table3(collect: Collector) -> Table:
    """Table 3, section 5.4."""
    optimizers = [_optimizer(collect.store, name) for name in TABLE3]
    one = next((found for found in optimizers if found is not None), None)
    names = {choice: name for name, choice in TABLE3.items()}
    if optimizers[-1] is None and one is not None and _optimizer(collect.store, "cascade") == one:
        names[True, True] = "cascade"  # trained as the other rows are
    first = Source("cascade-plain", "stages1-3")
    tick = {True: "yes", False: "-"}
    rows = [
        collect.row([tick[up], tick[stat]], Source(name, "stages1-3"), published.TABLE3[up, stat], ABLATION, first)
        for (up, stat), name in names.items()
    ]
    return Table(
        name="table3",
        title="Table 3: increasing IoU thresholds and regression statistics",
        note=" ".join((_TABLE3, _BY_ADAMW)) if one is not None and one["name"] == "adamw" else _TABLE3,
        heads=("IoU up", "stat"),
        columns=ABLATION,
        rows=tuple(rows),
        reference="the first row",
    )


_TABLE3 = (
    "Section 5.4. IoU up: u = .5, .6, .7, else .5 at every stage. stat: each stage's targets are normalised by a mean "
    "and deviation of its own, else by the first stage's. All are tested as 1~3."
)
_BY_ADAMW = (
    "These rows were trained by AdamW, whose steps do not depend on a loss's scale: they show little of what "
    "statistics do."
)


def _optimizer(store: Store, variant: str) -> dict[str, Any] | None:
    """Of the variant's first run; None where it has not been run."""
    records = [store.run(variant, seed).read("training.json") for seed in store.seeds(variant)[:1]]
    return records[0]["settings"]["optimizer"] if records and records[0] is not None else None


def table4(collect: Collector) -> Table:
    """Table 4, section 5.4."""
    sources = {
        (1, "1"): BASELINE,
        (2, "1~2"): Source("cascade-2", "stages1-2"),
        (3, "1~3"): CASCADE,
        (4, "1~3"): Source("cascade-4", "stages1-3"),
        (4, "1~4"): Source("cascade-4", "stages1-4"),
    }
    rows = [
        collect.row([str(number), test], source, published.TABLE4[number, test], ABLATION, BASELINE)
        for (number, test), source in sources.items()
    ]
    return Table(
        name="table4",
        title="Table 4: number of stages",
        note="Section 5.4. The fourth stage has u = .75; its target statistics were not published, here they continue "
        "the series of the others. 1~t: as in Table 2.",
        heads=("stages", "test stage"),
        columns=ABLATION,
        rows=tuple(rows),
        reference="one stage",
    )


def table5(collect: Collector) -> Table:
    """Table 5, section 5.5: published rows, and ours below."""
    rows = [Row(labels=names, paper=values) for names, values in published.TABLE5.items()]
    ours = (("baseline of this study", BASELINE), ("cascade of this study", CASCADE))
    rows += [collect.row([label, _model_of(collect.store, x)], x, {}, OVERVIEW) for label, x in ours]
    return Table(
        name="table5",
        title="Table 5: single-model detectors as published",
        note="Section 5.5. The paper's rows are on COCO test-dev; those of this study are on its own validation set, "
        "and comparable with each other only.",
        heads=("detector", "backbone"),
        columns=OVERVIEW,
        rows=tuple(rows),
    )


def table6(collect: Collector) -> Table:
    """Table 6, section 5.6."""
    columns = (*COST, *OVERVIEW)
    found = []
    for prefix in _families(collect.store):
        for kind, setting in (("baseline", "default"), ("cascade", "stages1-3")):
            source = Source(f"{prefix}{kind}", setting)
            labels = (_model_of(collect.store, source), "yes" if kind == "cascade" else "-")
            reference = Source(f"{prefix}baseline", "default")
            found.append(collect.row(labels, source, {}, columns, reference))
    theirs = [
        Row(labels=(f"{detector}, {backbone}", "yes" if cascade else "-"), paper=values)
        for (detector, backbone, cascade), values in published.TABLE6.items()
    ]
    return Table(
        name="table6",
        title="Table 6: baseline detectors with and without cascade",
        note="Section 5.6. Seconds an image: in training, a few steps at the training's batch; at test the median of "
        "single images, from pixels to boxes. param: fp32 weights. The paper's times are of one Titan Xp, its AP of "
        "COCO val; other backbones and widths than the paper's stand in rows of their own.",
        heads=("detector", "cascade"),
        columns=columns,
        rows=(*found, *theirs),
        reference="its baseline",
    )


def _families(store: Store) -> list[str]:
    """Prefixes of the run names: the base's, then those that have been run."""
    families = {family_of(run.name) for run in store.trained()} - {""}
    return ["", *(f"{family}-" for family in sorted(families))]


def _model_of(store: Store, source: Source) -> str:
    records: list[Any] = [store.run(source.variant, seed).read("training.json") for seed in store.seeds(source.variant)]
    return records[0]["model"] if records else source.variant


TABLES: dict[str, Callable[[Collector], Table]] = {
    table.__name__: table for table in (table1, table2, table3, table4, table5, table6)
}
