"""The page of results, from what the trainings left: figures, and paired bootstrap intervals over images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.against.setting import MAX_SIZE, MIN_SIZE, SETS, read_set
from cascade_rcnn.engine.environment import describe
from cascade_rcnn.evaluation.bootstrap import RESAMPLES, Interval, paired_difference, resample
from cascade_rcnn.evaluation.matches import match
from cascade_rcnn.files import read_json, replacing, write_json

OURS, PEER = "cascade", "torchvision"
METRICS = ("ap", "ap50", "ap75", "ap90")
NAMES = {
    "cascade": "this package, cascade (recipe `small`)",
    "baseline": "this package, one stage (`small_baseline`)",
    "starter": "this package, from the starter (`quickstart`)",
    "torchvision": "torchvision Faster R-CNN v1",
    "torchvision_v2": "torchvision Faster R-CNN v2",
    "torchvision_narrow": "torchvision v1, as narrow as `small`",
    "rtdetr": "RT-DETR of `transformers`",
}


def write_page(folder: Path, data: Path, page: Path) -> None:
    """Write against.json and against.md to `page`, of the trainings in `folder`."""
    found = [read_json(path) for path in sorted(folder.glob("*.json"))]
    sets = {name: _with_differences(folder, data, name, found) for name in SETS if any(r["set"] == name for r in found)}
    write_json(page / "against.json", {"machine": describe() | {"threads": 1}, "resamples": RESAMPLES, "sets": sets})
    introduction = (Path(__file__).parent / "page.md").read_text(encoding="utf-8")
    tables = "\n".join(table(name, rows) for name, rows in sets.items())
    with replacing(page / "against.md") as aside:
        aside.write_text(f"{introduction}\n{tables}\n{_machine()}\n", encoding="utf-8")


def _with_differences(folder: Path, data: Path, name: str, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a set's rows, best AP first, each with how much more our cascade has."""
    rows = sorted((row for row in found if row["set"] == name), key=lambda row: -row["ap"])
    truth = read_set(data, name)[1]
    draws = {_key(row): resample(match(truth, np.load(folder / f"{_key(row)}.npy"))) for row in rows}
    ours = {row["seed"]: draws[_key(row)] for row in rows if row["contender"] == OURS}
    if not ours:
        return rows
    compared = [row for row in rows if row["contender"] != OURS and row["seed"] in ours]
    for row in compared:
        pairs = {m: paired_difference([ours[row["seed"]]], [draws[_key(row)]], m) for m in METRICS}
        row["cascade_minus_this"] = {metric: list(one) for metric, one in pairs.items()}
    return rows


def _key(row: Mapping[str, Any]) -> str:
    return f"{row['set']}-{row['contender']}-{row['seed']}"


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Format a set's rows: the metrics, what the training cost, and our cascade's lead with its interval."""
    heads = ("", "AP", "AP50", "AP75", "AP90", "images seen", "training, s", "training, MB", "inference, ms")
    lead = ("our cascade's lead in AP", "in AP75", "in AP90")
    lines = [f"## `{name}`", "", _row(heads + lead), _row(["---"] * len(heads + lead))]
    for row in rows:
        metrics = [f"{100 * row[metric]:.1f}" for metric in METRICS]
        cost = [f"{row['images_seen']:,}", f"{row['seconds']:.0f}", f"{row['training_mb']:,.0f}"]
        leads = [_lead(row, metric) for metric in ("ap", "ap75", "ap90")]
        lines.append(_row([NAMES[row["contender"]], *metrics, *cost, f"{row['milliseconds']:.0f}", *leads]))
    return "\n".join([*lines, "", *_ratios(rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _lead(row: Mapping[str, Any], metric: str) -> str:
    if "cascade_minus_this" not in row:
        return ""
    mean, low, high = (100 * value for value in Interval(*row["cascade_minus_this"][metric]))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def _ratios(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how AP90 compares to that of each of torchvision's models."""
    ours = [row for row in rows if row["contender"] == OURS]
    lines = []
    for theirs in (row for row in rows if row["contender"].startswith(PEER)):
        for one in (row for row in ours if row["seed"] == theirs["seed"]):
            what = f"{100 * one['ap90']:.2f} against {100 * theirs['ap90']:.2f}"
            times = f", {one['ap90'] / theirs['ap90']:.1f} times as much" if theirs["ap90"] else ""
            lines += [f"AP90 of our cascade and of {NAMES[theirs['contender']]}: {what}{times}.", ""]
    return lines


def _machine() -> str:
    machine = describe()
    software = f"Python {machine['python']}, torch {machine['torch']}, torchvision {machine['torchvision']}"
    return f"{machine['processor']}, one thread, GPU {machine['gpu']}; {software}; {machine['date']}."
