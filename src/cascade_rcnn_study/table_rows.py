"""The rows of tables: our metrics over seeds, the paper's, and our difference to a reference row."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from cascade_rcnn.evaluation.bootstrap import LEAST_IMAGES, Interval, paired_difference, resample
from cascade_rcnn_study.published import ABLATION, COST, MASKS, OVERVIEW
from cascade_rcnn_study.study_folder import RECORD, RunFolder, StudyFolder

_OF_MASKS = "masks_"


@dataclass(frozen=True)
class Value:
    """A metric over seeds: AP in percent, time in seconds, size in MiB."""

    mean: float
    std: float | None  # None with one seed
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table, with columns by name."""

    labels: tuple[str, ...]
    ours: Mapping[str, Value] = field(default_factory=dict)  # empty: not measured
    paper: Mapping[str, float] = field(default_factory=dict)  # empty: not in the paper
    difference: Mapping[str, Interval] = field(default_factory=dict)  # to the reference row, on its images and seeds
    pairs: int = 0  # number of seeds that both rows have
    needs: str | None = None  # the variant to train for `ours`; None: a row with only the paper's values


@dataclass(frozen=True)
class Source:
    """The source of a row: a variant evaluated in a setting."""

    variant: str
    setting: str


class RowBuilder:
    """Make rows from the runs of a study; each run is resampled once."""

    def __init__(self, folder: StudyFolder, resamples: int) -> None:
        self.folder = folder
        self.resampled: Callable[[RunFolder, str], np.ndarray | None] = cache(self._resample)
        self.resamples = resamples

    def _resample(self, run: RunFolder, setting: str) -> np.ndarray | None:
        matches = run.matches(setting)
        if matches is None:
            return None
        return resample(matches, self.resamples if len(matches.truth) >= LEAST_IMAGES else 0)

    def row(
        self,
        labels: Sequence[str],
        source: Source,
        paper: Mapping[str, float],
        columns: Sequence[str],
        reference: Source | None = None,
    ) -> Row:
        """Make a row from all seeds that have been measured, and compare it with the reference."""
        per_seed = [_measured(run, source.setting) for run in self.folder.of(source.variant)]
        known = [values for values in per_seed if values is not None]
        ours = {name: _over_seeds([values[name] for values in known]) for name in columns}
        difference, pairs = ({}, 0) if reference is None else self._difference(source, reference, columns)
        return Row(
            labels=tuple(labels),
            ours={name: value for name, value in ours.items() if value is not None},
            paper=paper,
            difference=difference,
            pairs=pairs,
            needs=source.variant,
        )

    def _difference(self, source: Source, reference: Source, columns: Sequence[str]) -> tuple[dict[str, Interval], int]:
        """Compare two sources on the seeds that both have; also return the number of these."""
        ours, theirs = [], []
        if source == reference:
            return {}, 0
        for seed in sorted({*self.folder.seeds(source.variant)} & {*self.folder.seeds(reference.variant)}):
            a = self.resampled(self.folder.run(source.variant, seed), source.setting)
            b = self.resampled(self.folder.run(reference.variant, seed), reference.setting)
            if a is not None and b is not None:
                ours, theirs = [*ours, a], [*theirs, b]
        names = [name for name in columns if name in ABLATION or name == "ap75"]
        return {name: paired_difference(ours, theirs, name) for name in names} if ours else {}, len(ours)


def _measured(run: RunFolder, setting: str) -> dict[str, float] | None:
    """Return all columns of a run, NaN for times and masks that are missing; None if the setting is not measured."""
    metrics, record, speed = run.metrics(setting), run.read(RECORD), run.read("speed.json")
    if metrics is None or record is None:
        return None
    values = {name: 100 * getattr(metrics, name) for name in {*ABLATION, *OVERVIEW}}
    for name in (name for name in MASKS if name.startswith(_OF_MASKS)):
        own = None if metrics.masks is None else getattr(metrics.masks, name.removeprefix(_OF_MASKS))
        values[name] = math.nan if own is None else 100 * own
    train, test = (math.nan if speed is None else speed[f"{kind}_seconds_per_image"] for kind in ("training", "test"))
    return values | dict(zip(COST, (train, test, record["size_mib"]), strict=True))


def _over_seeds(values: Sequence[float]) -> Value | None:
    known = [x for x in values if not math.isnan(x)]
    if not known:
        return None
    return Value(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))
