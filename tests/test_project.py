"""Facts that several files state agree: version, URL, supported Python and torch, commands."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

import cascade_rcnn
from cascade_rcnn.cli import main

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())


def steps() -> list[dict[str, Any]]:
    return [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def test_the_version_is_stated_once_and_repeated_rightly(capsys):
    assert "version" in PROJECT["dynamic"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "src/cascade_rcnn/__init__.py"
    main(["--version"])
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", CHANGELOG, re.M)
    assert capsys.readouterr().out.strip() == cascade_rcnn.__version__ == CITATION["version"] == released[0]


def test_the_changelog_has_the_form_of_keep_a_changelog():
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.M)
    assert headings[0] == "[Unreleased]"
    linked = set(re.findall(r"^\[([^\]]+)\]: https://", CHANGELOG, re.M))
    assert {re.match(r"\[(.*?)\]", heading)[1] for heading in headings} == linked  # type: ignore[index]
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.M)) <= kinds


def test_one_address_licence_and_paper_everywhere():
    urls = PROJECT["urls"]
    home = urls["Homepage"]
    ours = {name: url for name, url in urls.items() if name != "Paper"}
    assert all(url.startswith(home) for url in ours.values())
    assert CITATION["repository-code"] == home
    assert all(url.startswith(home) for url in re.findall(r"^\[[^\]]+\]: (\S+)$", CHANGELOG, re.M))
    assert CITATION["license"] == PROJECT["license"]
    assert [reference["url"] for reference in CITATION["references"]] == [urls["Paper"]]


def test_continuous_integration_covers_what_is_supported():
    matrix = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]
    versions = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert matrix["python"] == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"
    oldest = WORKFLOW["jobs"]["test-oldest"]["steps"]
    assert versions[0] in [step.get("with", {}).get("python-version") for step in oldest]
    assert any(step.get("run", "").startswith("make test-oldest ") for step in oldest)


def test_continuous_integration_runs_make_targets_that_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    commands = [step["run"].split() for step in steps() if "run" in step]
    assert {command[0] for command in commands} == {"make"}
    assert {"lint", "test", "package"} <= {command[1] for command in commands} <= targets
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in steps() if "uses" in step)


def test_hooks_run_what_make_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    tools = [Path(hook["entry"].split()[0]).name for hook in hooks]
    makefile = (ROOT / "Makefile").read_text()
    assert "\nlint: style types\n" in makefile
    recipes = re.findall(r"^(?:style|types):.*\n((?:\t.*\n)+)", makefile, re.M)
    assert tools == re.findall(r"^\t@\$\(BIN\)/([\w-]+)", "".join(recipes), re.M)


def test_issue_forms_ask_for_what_is_needed():
    for name in ("bug", "feature"):
        form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
        assert form["name"]
        assert form["description"]
        ids = [item["id"] for item in form["body"] if item["type"] != "markdown"]
        assert len(set(ids)) == len(ids) >= 2


def test_functions_fit_a_screen_and_files_are_short():
    sources = [path.read_text() for path in (ROOT / "src" / "cascade_rcnn").rglob("*.py")]
    functions = [n for s in sources for n in ast.walk(ast.parse(s)) if isinstance(n, ast.FunctionDef)]
    lengths = [node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno is not None]
    assert sum(length < 45 for length in lengths) >= 0.985 * len(lengths) > 0
    assert sum(source.count("\n") <= 250 for source in sources) >= 0.94 * len(sources) > 0
