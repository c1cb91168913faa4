"""The page of results, written from finished runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.against.page import interval_text, machine_line, row_line
from benchmarks.against.setting import SETS, read_set
from benchmarks.presets.contestants import DEFAULT, PRESETS, SWITCHES, differing, preset_config, switch_names, value
from benchmarks.presets.differences import difference
from benchmarks.presets.training import METRICS, key
from cascade_rcnn.config import Category
from cascade_rcnn.config.losses import SmoothL1Config
from cascade_rcnn.engine.environment import describe
from cascade_rcnn.evaluation.bootstrap import RESAMPLES, resample
from cascade_rcnn.evaluation.detections import load_detections
from cascade_rcnn.evaluation.matches import match
from cascade_rcnn.files import read_json, replacing, write_json

Rows: TypeAlias = list[dict[str, Any]]
OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW"}
_SHOWN = ("ap", "ap75", "ap90")  # of differences
_HEADS = ("AP", "AP50", "AP75", "AP90", "seeds", "difference in AP", "in AP75", "in AP90")


def write_page(folder: Path, data: Path, page: Path) -> None:
    """Write presets.json and presets.md to `page` from the runs in `folder`."""
    found = [read_json(path) for path in sorted(folder.glob("*.json"))]
    values: dict[str, Any] = {"machine": describe() | {"threads": 1}, "resamples": RESAMPLES, "runs": found}
    remarks = page / "presets_remarks.md"  # written by hand
    parts = [(Path(__file__).parent / "page.md").read_text(encoding="utf-8")]
    parts += [remarks.read_text(encoding="utf-8")] if remarks.is_file() else []
    for optimizer, title in OPTIMIZERS.items():
        rows = [row for row in found if row["optimizer"] == optimizer and row["contender"] in PRESETS]
        sets = [name for name in SETS if any(row["set"] == name for row in rows)]
        best = at_best_rates(rows)
        draws = _draws(folder, data, best)
        presets = {name: compared(best, draws, name, PRESETS) for name in sets}
        values[optimizer] = {"presets": presets, "over_sets": over_sets(best, draws, sets)}
        if sets:
            parts.append(f"## {title}\n\nAP of each seed, by learning rate:\n\n{rates(rows)}\n")
            parts += [f"### `{name}` with {title}\n\n{table(one, 'preset')}\n" for name, one in presets.items()]
            parts.append(_pooled_text(values[optimizer]["over_sets"], title))
    beside = with_their_default(found)
    if beside:
        place, optimizer, rate = (beside[0][name] for name in ("set", "optimizer", "rate"))
        switched = compared(beside, _draws(folder, data, beside), place, (DEFAULT, *switch_names()))
        values["switches"] = {place: switched}
        title = f"One difference at a time, on `{place}` with {OPTIMIZERS[optimizer]} and learning rate {rate:g}"
        parts += [f"## {title}\n\n{table(switched, 'default, except')}\n", _not_run(switched)]
    parts += [f"## Differences between the presets\n\n{fields()}\n", machine_line(describe()) + "\n"]
    write_json(page / "presets.json", values)
    with replacing(page / "presets.md") as aside:
        aside.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def at_best_rates(found: Rows) -> Rows:
    """Return the rows of each contender on each set at the learning rate with the highest mean AP there."""
    groups: dict[tuple[str, str], dict[tuple[str, str, float], Rows]] = {}
    for row in found:
        groups.setdefault((row["set"], row["contender"]), {}).setdefault(_place(row), []).append(row)
    return [row for rates in groups.values() for row in max(rates.values(), key=_mean_ap)]


def with_their_default(found: Rows) -> Rows:
    """Return the rows of the default, at its best of the switches' learning rates, and of the switches at this rate."""
    switches = [row for row in found if row["contender"] not in PRESETS]
    places = {_place(row) for row in switches}
    best = at_best_rates([row for row in found if row["contender"] == DEFAULT and _place(row) in places])
    kept = {_place(row) for row in best}
    return best + [row for row in switches if _place(row) in kept]


def _place(row: Mapping[str, Any]) -> tuple[str, str, float]:
    return row["set"], row["optimizer"], row["rate"]


def _mean_ap(rows: Rows) -> float:
    return float(np.mean([row["ap"] for row in rows]))


def rates(found: Rows) -> str:
    """Tabulate the AP of each seed of each preset, by set and learning rate."""
    columns = sorted({(row["set"], row["rate"]) for row in found}, key=lambda c: (list(SETS).index(c[0]), c[1]))
    heads = ["preset", *(f"`{name}`, {rate:g}" for name, rate in columns)]
    lines = [row_line(heads), row_line(["---"] * len(heads))]
    for preset in PRESETS:
        own = {(row["set"], row["rate"], row["seed"]): row["ap"] for row in found if row["contender"] == preset}
        cells = [[f"{100 * ap:.1f}" for k, ap in sorted(own.items()) if k[:2] == column] for column in columns]
        lines.append(row_line([preset, *(", ".join(cell) for cell in cells)]))
    return "\n".join(lines)


def _draws(folder: Path, data: Path, found: Rows) -> dict[tuple[str, str, int], np.ndarray]:
    """Return the AP of each run on the resamples of its set, by set, contender and seed."""
    truths = {name: read_set(data, name)[1] for name in {row["set"] for row in found}}
    draws = {}
    for row in found:
        identity = (row["set"], row["contender"], row["seed"])
        path = folder / key(*identity[:2], row["optimizer"], row["rate"], row["seed"]) / "found.json"
        draws[identity] = resample(match(truths[row["set"]], load_detections(path, truths[row["set"]])))
    return draws


def compared(found: Rows, draws: Mapping[Any, np.ndarray], name: str, contenders: Sequence[str]) -> Rows:
    """Average each contender over its seeds, and compare it with the default over those that both have."""
    rows = []
    for contender in contenders:
        own = {row["seed"]: row for row in found if (row["set"], row["contender"]) == (name, contender)}
        if not own:
            continue
        row: dict[str, Any] = {"contender": contender, "seeds": sorted(own)}
        row |= {metric: float(np.mean([one[metric] for one in own.values()])) for metric in METRICS}
        if contender != DEFAULT and (shared := _shared(draws, name, contender)):
            row["difference"] = _differences(draws, {name: shared}, contender)
        rows.append(row)
    return rows


def over_sets(found: Rows, draws: Mapping[Any, np.ndarray], sets: Sequence[str]) -> dict[str, Any]:
    """Compare each preset with the default over all sets on which both were trained."""
    pooled = {}
    for preset in PRESETS:
        seeds = {name: shared for name in sets if (shared := _shared(draws, name, preset))}
        if preset != DEFAULT and seeds:
            pooled[preset] = {"sets": list(seeds)} | _differences(draws, seeds, preset)
    return pooled


def _shared(draws: Mapping[Any, np.ndarray], name: str, contender: str) -> list[int]:
    """List the seeds that a contender and the default have on a set."""
    seeds = sorted({seed for _, _, seed in draws})
    return [seed for seed in seeds if (name, contender, seed) in draws and (name, DEFAULT, seed) in draws]


def _differences(
    draws: Mapping[Any, np.ndarray], seeds: Mapping[str, list[int]], contender: str
) -> dict[str, list[float]]:
    """Return the difference to the default in each metric, over the seeds of each set."""
    ours, theirs = (
        {name: [draws[name, who, seed] for seed in numbers] for name, numbers in seeds.items()}
        for who in (contender, DEFAULT)
    )
    return {metric: list(difference(ours, theirs, metric)) for metric in METRICS}


def table(rows: Rows, head: str) -> str:
    """Format the metrics of contenders, and their differences to the default."""
    lines = [row_line((head, *_HEADS)), row_line(["---"] * (1 + len(_HEADS)))]
    for row in rows:
        metrics = [f"{100 * row[metric]:.1f}" for metric in METRICS]
        apart = [interval_text(row["difference"][metric]) if "difference" in row else "" for metric in _SHOWN]
        name = " of ".join(reversed(row["contender"].split(":")))
        lines.append(row_line([name, *metrics, str(len(row["seeds"])), *apart]))
    return "\n".join(lines)


def _pooled_text(pooled: Mapping[str, Any], title: str) -> str:
    lines = [f"### Over the datasets with {title}", ""]
    for preset, one in pooled.items():
        apart = ", ".join(f"{metric.upper()} {interval_text(one[metric])}" for metric in METRICS)
        sets = ", ".join(f"`{name}`" for name in one["sets"])
        lines += [f"- `{preset}` minus `{DEFAULT}`, mean over {sets}: {apart}."]
    return "\n".join([*lines, ""])


def _not_run(rows: Rows) -> str:
    done = {row["contender"] for row in rows}
    left = [" of ".join(reversed(name.split(":"))) for name in switch_names() if name not in done]
    return f"Not run: {', '.join(left)}.\n" if left else ""


def fields() -> str:
    """Tabulate the fields in which the presets differ."""
    configs = {preset: preset_config(preset, (Category(),)) for preset in PRESETS}
    apart = {path for config in configs.values() for path in differing(configs[DEFAULT], config)}
    lines = [row_line(("difference", "field", *PRESETS)), row_line(["---"] * (2 + len(PRESETS)))]
    for switch, paths in SWITCHES.items():
        for path in paths:
            if any(one == path or one.startswith(f"{path}.") for one in apart):
                lines.append(row_line([switch, f"`{path}`", *(_shown(value(c, path)) for c in configs.values())]))
    return "\n".join(lines)


def _shown(given: Any) -> str:
    """Format a field: of stages, only what the presets differ in, and of losses the beta."""
    if isinstance(given, tuple) and given and hasattr(given[0], "loss_weight"):
        weights, rates = ([f"{getattr(s, name):g}" for s in given] for name in ("loss_weight", "lr_multiplier"))
        return f"losses x {'/'.join(weights)}, rates x {'/'.join(rates)}, last std {given[-1].std[0]:.4g}"
    return f"beta {given.beta:.3g}" if isinstance(given, SmoothL1Config) else str(given)
