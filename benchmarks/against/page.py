"""Write the results page of the training runs: metrics, and paired bootstrap intervals over images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.against.setting import SETS, read_set
from benchmarks.measure import gpu_of
from cascade_rcnn.engine.environment import describe
from cascade_rcnn.evaluation.bootstrap import RESAMPLES, Interval, paired_difference, resample
from cascade_rcnn.evaluation.matches import match
from cascade_rcnn.files import read_json, replacing, write_json

OURS = ("starter", "cascade")  # the others are compared with the first of these that a dataset has
PEER = "torchvision"
_LEAST = 0.001  # AP; a multiple of less is meaningless
METRICS = ("ap", "ap50", "ap75", "ap90")
NAMES = {
    "starter": "this package, from the starter",
    "cascade": "this package, cascade from ImageNet",
    "baseline": "this package, one stage from ImageNet",
    "small": "this package, cascade, recipe `small`",
    "torchvision": "torchvision Faster R-CNN v1",
    "torchvision_v2": "torchvision Faster R-CNN v2",
    "torchvision_narrow": "torchvision v1, as narrow as `small`",
    "rtdetr": "RT-DETR from `transformers`",
}


def write_page(folder: Path, data: Path, page: Path) -> None:
    """Write against.json and against.md to `page` from the runs in `folder`."""
    found = [read_json(path) for path in sorted(folder.glob("*.json"))]
    sets = {name: _with_differences(folder, data, name, found) for name in SETS if any(r["set"] == name for r in found)}
    write_json(page / "against.json", {"machine": describe() | {"threads": 1}, "resamples": RESAMPLES, "sets": sets})
    introduction = (Path(__file__).parent / "page.md").read_text(encoding="utf-8")
    tables = "\n".join(table(name, rows) for name, rows in sets.items())
    remarks = page / "against_remarks.md"  # written by hand
    read = f"\n{remarks.read_text(encoding='utf-8')}" if remarks.is_file() else ""
    with replacing(page / "against.md") as aside:
        aside.write_text(f"{introduction}\n{tables}\n{machine_line()}\n{read}", encoding="utf-8")


def _with_differences(folder: Path, data: Path, name: str, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a dataset by descending AP, each with its difference to ours."""
    rows = sorted((row for row in found if row["set"] == name), key=lambda row: -row["ap"])
    truth = read_set(data, name)[1]
    draws = {_key(row): resample(match(truth, np.load(folder / f"{_key(row)}.npy"))) for row in rows}
    chosen = reference(rows)
    ours = {row["seed"]: draws[_key(row)] for row in rows if row["contender"] == chosen}
    for row in rows:
        if row["contender"] != chosen and row["seed"] in ours:
            pairs = {m: paired_difference([ours[row["seed"]]], [draws[_key(row)]], m) for m in METRICS}
            row["behind"] = {metric: list(one) for metric, one in pairs.items()}
    return rows


def reference(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return which of our contenders the others are compared with; None if there is none."""
    there = {row["contender"] for row in rows}
    return next((name for name in OURS if name in there), None)


def _key(row: Mapping[str, Any]) -> str:
    return f"{row['set']}-{row['contender']}-{row['seed']}"


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the rows of a dataset: metrics, cost of training, and how far ours is ahead, with intervals."""
    heads = ("", "AP", "AP50", "AP75", "AP90", "images seen", "training, s", "training, MB", "inference, ms")
    lead = ("behind by (AP)", "AP75", "AP90")
    budgets = " and ".join(f"{seconds:g}" for seconds in sorted({row["budget"] for row in rows}))
    lines = [f"## `{name}`, {budgets} seconds each", "", row_line(heads + lead), row_line(["---"] * len(heads + lead))]
    for row in rows:
        metrics = [f"{100 * row[metric]:.1f}" for metric in METRICS]
        cost = [f"{row['images_seen']:,}", f"{row['seconds']:.0f}", f"{row['training_mb']:,.0f}"]
        leads = [_lead(row, metric) for metric in ("ap", "ap75", "ap90")]
        lines.append(row_line([NAMES[row["contender"]], *metrics, *cost, f"{row['milliseconds']:.0f}", *leads]))
    return "\n".join([*lines, "", *_ratios(rows)])


def row_line(cells: Sequence[str]) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def _lead(row: Mapping[str, Any], metric: str) -> str:
    if "behind" not in row:
        return ""
    mean, low, high = (100 * value for value in Interval(*row["behind"][metric]))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def _ratios(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Compare our AP90 with that of each torchvision model."""
    ours = {row["seed"]: row for row in rows if row["contender"] == reference(rows)}
    lines = []
    for theirs in (row for row in rows if row["contender"].startswith(PEER) and row["seed"] in ours):
        one = ours[theirs["seed"]]
        both = " and ".join(f'{100 * row["ap90"]:.2f} for "{NAMES[row["contender"]]}"' for row in (one, theirs))
        times = f" ({one['ap90'] / theirs['ap90']:.1f} times as much)" if theirs["ap90"] >= _LEAST else ""
        lines += [f"AP90 is {both}{times}.", ""]
    return lines


def machine_line() -> str:
    """Say on what the figures were measured, and when."""
    machine = describe()
    software = f"Python {machine['python']}, torch {machine['torch']}, torchvision {machine['torchvision']}"
    return f"{machine['processor']}, one thread, {gpu_of(machine)}; {software}; {machine['date']}."
