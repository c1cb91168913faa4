"""Write the results page of the training runs: metrics, and paired bootstrap intervals over images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.against.setting import SETS, read_set, stem
from benchmarks.measure import gpu_of
from cascade_rcnn.engine.environment import describe
from cascade_rcnn.evaluation.bootstrap import RESAMPLES, Interval, paired_difference, resample
from cascade_rcnn.evaluation.matches import match
from cascade_rcnn.files import read_json, replacing, write_json
from cascade_rcnn.text import points

PAIRS = (  # with the same initial weights
    ("cascade", "baseline"),  # and the same optimizer: only the architecture differs
    ("cascade", "torchvision_narrow"),
    ("baseline", "torchvision_narrow"),
    ("cascade", "torchvision_tuned"),  # and the same optimizer
    ("baseline", "torchvision_tuned"),
    ("small", "small_baseline"),
    ("small", "torchvision_small"),
    ("small_baseline", "torchvision_small"),
)
OURS = ("starter", "cascade", "small")  # the others are compared with the first of these that a table has
PEER = "torchvision"
_LEAST = 0.001  # AP; a multiple of less is meaningless
Draws: TypeAlias = dict[tuple[str, int], np.ndarray]  # AP on resamples of a dataset, by contender and seed
_OF_A_RUN = ("set", "contender", "budget", "precision", "seed")
METRICS = ("ap", "ap50", "ap75", "ap90")
NAMES = {
    "starter": "this package, from the starter",
    "cascade": "this package, cascade from ImageNet",
    "baseline": "this package, one stage from ImageNet",
    "small": "this package, cascade, recipe `small`",
    "small_baseline": "this package, one stage, recipe `small_baseline`",
    "torchvision": "torchvision Faster R-CNN v1",
    "torchvision_v2": "torchvision Faster R-CNN v2",
    "torchvision_narrow": "torchvision v1, as narrow as `small`",
    "torchvision_tuned": "torchvision v1, as narrow, with the optimizer of `quickstart`",
    "torchvision_small": "torchvision v1, as narrow, with the optimizer of `small`",
    "rtdetr": "RT-DETR from `transformers`",
}


def write_page(folder: Path, data: Path, page: Path) -> None:
    """Write against.json and against.md to `page` from the runs in `folder`, keeping other tables that are there."""
    found = [read_json(path) for path in sorted(folder.glob("*.json"))]
    contests = {_title(contest["rows"]): contest for contest in _recorded(page / "against.json")}
    for title in dict.fromkeys(_title([row]) for row in found):
        contests[title] = _contest(folder, data, [row for row in found if _title([row]) == title])
    ordered = sorted(contests.values(), key=_order)
    write_json(page / "against.json", {"resamples": RESAMPLES, "contests": ordered})
    introduction = (Path(__file__).parent / "page.md").read_text(encoding="utf-8")
    tables = "\n".join(_section(contest) for contest in ordered)
    remarks = page / "against_remarks.md"  # written by hand
    read = f"\n{remarks.read_text(encoding='utf-8')}" if remarks.is_file() else ""
    with replacing(page / "against.md") as aside:
        aside.write_text(f"{introduction}\n{tables}{read}", encoding="utf-8")


def _recorded(path: Path) -> list[dict[str, Any]]:
    return read_json(path)["contests"] if path.is_file() else []


def _title(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the title of a table: what its runs have in common."""
    return f"`{rows[0]['set']}`, {rows[0]['budget']:g} seconds each, {rows[0]['precision']}"


def _order(contest: Mapping[str, Any]) -> tuple[int, float, str]:
    first = contest["rows"][0]
    return list(SETS).index(first["set"]), first["budget"], first["precision"]


def _section(contest: Mapping[str, Any]) -> str:
    return f"{table(contest['rows'])}{_pair_lines(contest['pairs'])}\n{machine_line(contest['machine'])}\n"


def _contest(folder: Path, data: Path, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the rows of a table, the differences within pairs of contenders, and the machine."""
    _, truth = read_set(data, rows[0]["set"])
    draws = {_key(row): resample(match(truth, np.load(folder / _file(row)))) for row in rows}
    return {"machine": describe(), "rows": with_differences(rows, draws), "pairs": paired(draws)}


def with_differences(rows: Sequence[dict[str, Any]], draws: Draws) -> list[dict[str, Any]]:
    """Return the rows of a table by descending AP, each with its difference to ours."""
    rows = sorted(rows, key=lambda row: -row["ap"])
    chosen = reference(rows)
    for row in rows:
        ours = draws.get((chosen or "", row["seed"]))
        if row["contender"] != chosen and ours is not None:
            row["behind"] = {m: list(paired_difference([ours], [draws[_key(row)]], m)) for m in METRICS}
    return rows


def paired(draws: Draws) -> list[dict[str, Any]]:
    """Compare each pair over the seeds that both were trained with."""
    found = []
    for ours, theirs in PAIRS:
        seeds = sorted({seed for _, seed in draws if all((who, seed) in draws for who in (ours, theirs))})
        if seeds:
            one, other = ([draws[who, seed] for seed in seeds] for who in (ours, theirs))
            metrics = {metric: list(paired_difference(one, other, metric)) for metric in METRICS}
            found.append({"ours": ours, "theirs": theirs, "seeds": seeds} | metrics)
    return found


def _pair_lines(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Format the differences within pairs as lines of Markdown."""
    lines = []
    for pair in pairs:
        apart = ", ".join(f"{metric.upper()} {interval_text(pair[metric])}" for metric in METRICS)
        seeds = f"seed {pair['seeds'][0]}" if len(pair["seeds"]) == 1 else f"{len(pair['seeds'])} seeds"
        lines += [
            f"{NAMES[pair['ours']].replace('this', 'This', 1)}, minus {NAMES[pair['theirs']]}, {seeds}: {apart}.",
            "",
        ]
    return "\n".join(["", *lines]) if lines else ""


def reference(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return which of our contenders the others are compared with; None if there is none."""
    there = {row["contender"] for row in rows}
    return next((name for name in OURS if name in there), None)


def _key(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["contender"], row["seed"]


def _file(row: Mapping[str, Any]) -> str:
    return f"{stem(*(row[key] for key in _OF_A_RUN))}.npy"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the rows of a dataset and a time: metrics, cost of training, and how far ours is ahead, with intervals."""
    several = len({row["seed"] for row in rows}) > 1
    heads = ("", *(["seed"] if several else []), "AP", "AP50", "AP75", "AP90")
    heads += ("images seen", "training, s", "training, MB", "inference, ms")
    lead = ("behind by (AP)", "AP75", "AP90")
    lines = [f"## {_title(rows)}", "", row_line(heads + lead), row_line(["---"] * len(heads + lead))]
    for row in rows:
        metrics = [f"{100 * row[metric]:.1f}" for metric in METRICS]
        cost = [f"{row['images_seen']:,}", f"{row['seconds']:.0f}", f"{row['training_mb']:,.0f}"]
        leads = [_lead(row, metric) for metric in ("ap", "ap75", "ap90")]
        who = [NAMES[row["contender"]], *([str(row["seed"])] if several else [])]
        lines.append(row_line([*who, *metrics, *cost, f"{row['milliseconds']:.0f}", *leads]))
    return "\n".join([*lines, "", *_ratios(rows)])


def row_line(cells: Sequence[str]) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def _lead(row: Mapping[str, Any], metric: str) -> str:
    if "behind" not in row:
        return ""
    return interval_text(row["behind"][metric])


def interval_text(values: Sequence[float]) -> str:
    """Format a difference and its interval in points of AP, such as `+1.7 (+1.0 to +2.2)`."""
    mean, low, high = (points(value) for value in Interval(*values))
    return f"{mean} ({low} to {high})"


def _ratios(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Compare our AP90 with that of each torchvision model."""
    ours = {row["seed"]: row for row in rows if row["contender"] == reference(rows)}
    lines = []
    for theirs in (row for row in rows if row["contender"].startswith(PEER) and row["seed"] in ours):
        one = ours[theirs["seed"]]
        seed = f", seed {theirs['seed']}" if len(ours) > 1 else ""
        both = " and ".join(f'{100 * row["ap90"]:.2f} for "{NAMES[row["contender"]]}"' for row in (one, theirs))
        times = f" ({one['ap90'] / theirs['ap90']:.1f} times as much)" if theirs["ap90"] >= _LEAST else ""
        lines += [f"AP90 is {both}{times}{seed}.", ""]
    return lines


def machine_line(machine: Mapping[str, Any]) -> str:
    """Say on what the figures were measured, and when."""
    software = f"Python {machine['python']}, torch {machine['torch']}, torchvision {machine['torchvision']}"
    return f"{machine['processor']}, one thread, {gpu_of(machine)}; {software}; {machine['date']}."
