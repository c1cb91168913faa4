"""The documentation site: its navigation has every page, its API page every public name."""

import re
from pathlib import Path

import yaml

import cascade_rcnn

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def pages(nav) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages(part)]


def test_every_page_is_in_the_navigation_once():
    listed = pages(CONFIG["nav"])
    elsewhere = {line.strip("/ ") for line in CONFIG["not_in_nav"].splitlines()}
    found = {path.relative_to(ROOT / "docs") for kind in ("*.md", "*.ipynb") for path in (ROOT / "docs").rglob(kind)}
    outside = {path for path in found if any(path.match(pattern) for pattern in elsewhere)}
    assert len(listed) == len(set(listed))
    assert set(listed) == {path.as_posix() for path in found - outside}


def test_every_public_name_is_in_the_api_page():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: cascade_rcnn\.(?:runtime\.)?(\w+)$", text, re.M)
    assert sorted(listed) == sorted(cascade_rcnn.__all__)
