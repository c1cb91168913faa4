"""docs/backbones.md covers every architecture, and its commands and networks exist."""

import fnmatch
import re
from pathlib import Path

import pytest

from cascade_rcnn import find_recipe, list_models
from cascade_rcnn.hub.table import published

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "backbones.md").read_text(encoding="utf-8")


def columns(heading: str) -> list[list[str]]:
    """Return the rows of a section's table, without the header."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


def test_every_architecture_is_in_the_table():
    patterns = [name for row in columns("Published and measured") for name in re.findall(r"`([^`]+)`", row[0])]
    missing = [name for name in list_models() if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    assert not missing
    assert all(fnmatch.filter(list_models(), pattern) for pattern in patterns)


def test_the_commands_name_recipes_and_models():
    commands = [found for row in columns("Published and measured") for found in re.findall(r"`train ([^`]+)`", row[2])]
    assert commands
    for command in commands:
        recipe, *rest = command.split()
        assert find_recipe(recipe).model in list_models()
        known = {"--model": list_models(), "--init": published()}
        assert not rest or rest[1] in known[rest[0]], command


def test_networks_of_timm_exist():
    timm = pytest.importorskip("timm")
    names = re.findall(r"timm/([\w.]+)", PAGE)
    known = {*timm.list_models(), *timm.list_pretrained()}
    assert len(names) > 5
    assert set(names) <= known
