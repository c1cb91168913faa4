"""The table of a campaign, as JSON and as a page."""

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.torture.outcomes import Outcome

_HEAD = """# Torture

Written by `make torture` (`benchmarks/torture/`): kills at random moments and around each rename, disks, files and
processes that fail under a running command, and mutated files read as the commands read them. A case is right if the
result equals an undisturbed run's to the bit, or what a plain parser finds in the same bytes. The three columns of
faults, from "traceback" on, must be 0.
"""
_SHOWN = 12  # faults and refusals of an area


def write(results: Path, content: dict[str, Any], *, keep: bool = False) -> Path:
    """`results`/torture.json and, beside it, torture.md; `keep`: with the other areas that are there already."""
    results.mkdir(parents=True, exist_ok=True)
    for tally in content["areas"]:
        tally["refusals"] = {_placeless(line): case for line, case in tally["refusals"].items()}
        shown = _kinds(tally["refusals"])
        tally["refusals"] = {line: tally["refusals"][line] for line in shown}
    if keep and (results / "torture.json").is_file():
        before = json.loads((results / "torture.json").read_text())
        dated = [tally | {"date": _date(tally, whole)} for whole in (before, content) for tally in whole["areas"]]
        by_name = {tally["area"]: tally for tally in dated}  # the new in place of the old
        content = {**before, "areas": list(by_name.values())}
    (results / "torture.json").write_text(json.dumps(content, indent=1) + "\n")
    page = results / "torture.md"
    page.write_text(render(content))
    return page


def render(content: dict[str, Any]) -> str:
    """The page."""
    lines = [_HEAD]
    if content["quick"]:
        lines.append("**A trial with a few cases: these figures mean little.**\n")
    lines += [f"| area | cases | {' | '.join(Outcome)} | date |", "|---" * (3 + len(Outcome)) + "|"]
    for tally in content["areas"]:
        counts = [tally["counts"][outcome] for outcome in Outcome]
        lines.append(f"| {tally['area']} | {sum(counts)} | {' | '.join(map(str, counts))} | {_date(tally, content)} |")
    skipped = [line for tally in content["areas"] for line in tally["skipped"]]
    lines += ["", *(f"- Not tried: {_code(line)}" for line in skipped)]
    for tally in content["areas"]:
        lines += _area(tally)
    here = content["machine"]
    versions = f"Python {here['python']}, torch {here['torch']}, torchvision {here['torchvision']}"
    how = f"seed {content['seed']}, {content['seconds']:.0f} seconds"
    lines += ["", f"{here['processor']}, {here['cores']} cores, GPU {here['gpu']}; {versions}; {how}; {here['date']}."]
    return "\n".join(lines) + "\n"


def _date(tally: dict[str, Any], content: dict[str, Any]) -> str:
    """When an area was tried: with the others, unless it says otherwise."""
    return tally.get("date", content["machine"]["date"])


def _area(tally: dict[str, Any]) -> list[str]:
    lines = []
    if tally["faults"]:
        lines += [f"\n## {tally['area']}: faults\n"]
        lines += [f"- {_code(f['case'])}: {f['outcome']}: {_code(f['said'])}" for f in tally["faults"][:_SHOWN]]
    if tally["refusals"]:
        lines += [f"\n## {tally['area']}: lines that bad input gets\n"]
        lines += [f"- {_code(line)}" for line in _kinds(tally["refusals"])]
    return lines


def _kinds(refusals: dict[str, str]) -> list[str]:
    """Some of the lines, as different as they can be: one for each that differs in more than numbers and names."""
    kinds: dict[str, str] = {}
    for line in refusals:
        words = [word for word in line.split() if word.isalpha()]
        kinds.setdefault(" ".join(words[:6]), line)
    return list(kinds.values())[:_SHOWN]


def _placeless(line: str) -> str:
    """Without the temporary folder that the campaign worked in."""
    return re.sub(r"/\S*?/torture-\w+/", "", line)


def _code(text: str) -> str:
    """On one line, readable whatever it holds."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
    return f"`{shown[:300].replace('`', chr(39))}`"
