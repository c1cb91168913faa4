"""Write the results of the torture tests as JSON and as a page."""

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.measure import gpu_of
from benchmarks.torture.outcomes import Outcome

_HEAD = """# Torture

This page is written by `make torture` (`benchmarks/torture/`). It kills commands at random moments and around each
rename, makes disks, files and processes fail while a command runs, has the commands' readers read mutated files, sends
hostile requests to the service, and kills an actor of Ray. A case is right if the result is bit-identical to that of an
undisturbed run, or equals what a plain parser finds in the same bytes (for the service: boxes within .01 pixels). The
three columns of faults, from "traceback" on, must be 0. Error messages are quoted as they were on the date of the test.
"""
_SHOWN = 12  # number of faults and error messages shown per area


def write(results: Path, content: dict[str, Any], *, keep: bool = False) -> Path:
    """Write torture.json and torture.md to `results`; with `keep`, keep the areas in the file that were not run."""
    results.mkdir(parents=True, exist_ok=True)
    for tally in content["areas"]:
        tally["refusals"] = {_placeless(line): case for line, case in tally["refusals"].items()}
        shown = _kinds(tally["refusals"])
        tally["refusals"] = {line: tally["refusals"][line] for line in shown}
    if keep and (results / "torture.json").is_file():
        before = json.loads((results / "torture.json").read_text())
        processors = [whole["machine"]["processor"] for whole in (before, content)]
        other = f", {processors[1]}" if processors[0] != processors[1] else ""  # the page's last line names the first
        dated = [tally | {"date": _date(tally, before)} for tally in before["areas"]]
        dated += [tally | {"date": _date(tally, content) + other} for tally in content["areas"]]
        by_name = {tally["area"]: tally for tally in dated}  # new results replace old ones
        content = {**before, "areas": list(by_name.values())}
    (results / "torture.json").write_text(json.dumps(content, indent=1) + "\n")
    page = results / "torture.md"
    page.write_text(render(content))
    return page


def render(content: dict[str, Any]) -> str:
    """Return the page."""
    lines = [_HEAD]
    if content["quick"]:
        lines.append("**This was a trial with a few cases; the numbers mean little.**\n")
    lines += [f"| area | cases | {' | '.join(Outcome)} | date |", "|---" * (3 + len(Outcome)) + "|"]
    for tally in content["areas"]:
        counts = [tally["counts"][outcome] for outcome in Outcome]
        lines.append(f"| {tally['area']} | {sum(counts)} | {' | '.join(map(str, counts))} | {_date(tally, content)} |")
    skipped = [line for tally in content["areas"] for line in tally["skipped"]]
    lines += [""] if skipped else []
    lines += [f"- Not tested: {_code(line)}" for line in skipped]
    for tally in content["areas"]:
        lines += _area(tally)
    here = content["machine"]
    versions = f"Python {here['python']}, torch {here['torch']}, torchvision {here['torchvision']}"
    at_once = not any("date" in tally for tally in content["areas"])
    when = f"{content['seconds']:.0f} seconds; {here['date']}" if at_once else "on the dates in the table"
    how = f"seed {content['seed']}, {when}"
    lines += ["", f"{here['processor']}, {here['cores']} cores, {gpu_of(here)}; {versions}; {how}."]
    return "\n".join(lines) + "\n"


def _date(tally: dict[str, Any], content: dict[str, Any]) -> str:
    """Return the date of an area; by default that of the whole run."""
    return tally.get("date", content["machine"]["date"])


def _area(tally: dict[str, Any]) -> list[str]:
    lines = []
    if tally["faults"]:
        lines += [f"\n## {tally['area']}: faults\n"]
        lines += [f"- {_code(f['case'])}: {f['outcome']}: {_code(f['said'])}" for f in tally["faults"][:_SHOWN]]
    if tally["refusals"]:
        lines += [f"\n## {tally['area']}: examples of error messages\n"]
        lines += [f"- {_code(line)}" for line in _kinds(tally["refusals"])]
    return lines


def _kinds(refusals: dict[str, str]) -> list[str]:
    """Choose a diverse sample of messages: one of those that differ only in numbers and names."""
    kinds: dict[str, str] = {}
    for line in refusals:
        words = [word for word in line.split() if word.isalpha()]
        kinds.setdefault(" ".join(words[:6]), line)
    return list(kinds.values())[:_SHOWN]


def _placeless(line: str) -> str:
    """Remove the temporary folder of the run."""
    return re.sub(r"/\S*?/torture-\w+/", "", line)


def _code(text: str) -> str:
    """Format any text as code on one line, with control characters escaped."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
    return f"`{shown[:300].replace('`', chr(39))}`"
