"""Run all benchmarks, or --only one, and write the results page: performance.md, next to the folder of raw numbers.

The numbers of each part are in a JSON file, so that a single part can be measured again; `--only page` measures nothing
and only rewrites the page. Results for a restricted processor (to AVX2: ONEDNN_MAX_CPU_ISA=AVX2
MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2) have a separate file and table.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import QUICK_RESULTS, RESTRICTED, RESULTS, Row, add_flags, gpu_of
from cascade_rcnn.text import count

PARTS = {
    "floor": "The machine",
    "inference": "Inference",
    "training_step": "Training step",
    "peers": "Comparison with detectron2 and mmdetection",
    "memory": "Peak memory",
    "endurance": "Memory over many predictions",
    "masks": "Masks",
    "accuracy": "The cost of the fast modes",
    "gpu": "GPU",
    "loading": "Data loading",
    "evaluation": "Evaluation",
    "annotations": "COCO-sized annotations",
    "start": "Start-up",
    "scaling": "Scaling",
}
_HEAD = """# Performance

This page is written by `make bench`. The scripts are in `benchmarks/`, and the raw numbers in
`docs/results/performance/`. Times are medians after a warm-up, with the candidates taking turns; ratios are more
reliable than times. The floor is the minimum that this machine needs, in the unit of the measurement. For networks, it
is the time that their floating-point operations take at the machine's rate for large matrix products. The targets are
the project's own. The denominator of each ratio was measured in the same run.

```
make bench BENCH="--data FOLDER --checkpoints FILE --peer detectron2=PYTHON mmdet=PYTHON --compile"
```

`FOLDER` has images/, person_train.json and person_val.json, `FILE` is a model trained on them, and each `PYTHON` that
of an environment with the framework. Without a flag, the part that needs it is left out and says so.
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[*PARTS, "page"], help="measure a single part (page: measure nothing)")
    add_flags(parser)
    given = parser.parse_args(arguments)
    folder = given.output or (QUICK_RESULTS if given.quick else RESULTS)
    chosen = list(PARTS) if given.only is None else [part for part in PARTS if part == given.only]
    failed = [part for part in chosen if subprocess.call([sys.executable, "-m", f"benchmarks.{part}", *_flags(given)])]
    page = folder.parent / f"{folder.name}.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(folder))
    print(page)
    if failed:
        sys.exit(f"failed (see above): {', '.join(failed)}")


def _flags(given: argparse.Namespace) -> list[str]:
    """Return the given flags that all scripts share."""
    flags = []
    for name, value in vars(given).items():
        if name != "only" and value not in (None, False, []):
            values = value if isinstance(value, list) else [] if value is True else [value]
            flags += [f"--{name}", *map(str, values)]
    return flags


def render(folder: Path) -> str:
    """Return the page: a table for each measured part, and the handwritten remarks.md of the folder."""
    lines = [_HEAD]
    for part, title in PARTS.items():
        lines.append(f"## {title}\n")
        paths = [path for end in ("", RESTRICTED) if (path := folder / f"{part}{end}.json").is_file()]
        if not paths:
            lines.append("Not measured.\n")
        for path in paths:
            lines += _part(json.loads(path.read_text()))
        if (folder / f"{part}.svg").is_file():
            lines.append(f"![{title}]({folder.name}/{part}.svg)\n")
    remarks = folder / "remarks.md"
    lines += [remarks.read_text()] if remarks.is_file() else []
    return "\n".join(lines).rstrip() + "\n"


def _part(content: dict[str, Any]) -> list[str]:
    lines = ["**This was a trial at a small size; the numbers mean nothing.**\n"] if content["quick"] else []
    lines += ["| what | measured | floor | ratio | target | met |", "|---|---|---|---|---|---|"]
    lines += [_line(Row(**row)) for row in content["rows"]]
    if content.get("breakdown_ms"):
        lines += ["", *_breakdown(content["breakdown_ms"])]
    lines += ["", *(f"- {note}" for note in content["notes"])]
    here = content["machine"]
    where = f"{here['processor']}, {here['cores']} cores, {count(here['threads'], 'thread')}, {gpu_of(here)}"
    versions = f"Python {here['python']}, torch {here['torch']}, torchvision {here['torchvision']}"
    restrictions = ", ".join(f"{name}={value}" for name, value in here.get("restrictions", {}).items())
    where = f"{where}, **restricted by {restrictions}**" if restrictions else where
    return [*lines, "", f"{where}; {versions}; median of {content['repeats']}; {here['date']}.\n"]


def _line(row: Row) -> str:
    floor = "" if row.floor is None else f"{row.floor:.3g}"
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}" + (f" ({row.against})" if row.against else "")
    target = "" if row.bound is None else f"{'≥' if row.least else '≤'} {row.bound:.3g}"
    met = "" if row.met is None else ("yes" if row.met else "**no**")
    return f"| {row.what} | {row.value:.4g} {row.unit} | {floor} | {ratio} | {target} | {met} |"


def _breakdown(shares: dict[str, dict[str, float]]) -> list[str]:
    """Format the milliseconds of each part, with a column for each network."""
    known = {name: parts for name, parts in shares.items() if parts}
    lines = [f"| ms | {' | '.join(known)} |", "|---" * (1 + len(known)) + "|"]
    for part in next(iter(known.values()), {}):
        lines.append(f"| {part} | {' | '.join(f'{parts[part]:.0f}' for parts in known.values())} |")
    return lines


if __name__ == "__main__":
    main()
