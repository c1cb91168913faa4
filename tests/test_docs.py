"""Every relative link of the documentation has a target: files, pictures, headings."""

import json
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import PIL.Image
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = [ROOT / folder for folder in ("docs", "src", ".github")]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(page for folder in FOLDERS for page in folder.rglob("*.md")),
        *(ROOT / "docs" / "notebooks").glob("*.ipynb"),
    ]
)
LINK = re.compile(r"(!?)\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.M)


def text(page: Path) -> str:
    """Return a page without its code blocks."""
    content = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(content)["cells"]
        content = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^(```+|~~~+).*?^\1\s*$", "", content, flags=re.M | re.S)


def links(page: Path) -> list[tuple[bool, str]]:
    """Return targets within the repository, and whether they are pictures."""
    found = [
        (bool(mark), inline or reference)
        for mark, inline, reference in LINK.findall(re.sub(r"`[^`\n]*`", "", text(page)))
    ]
    return [(picture, target) for picture, target in found if not re.match(r"[a-z][a-z0-9+.-]*:", target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub builds them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", text(page), re.M):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        kept = (c for c in shown if c in " -_" or unicodedata.category(c)[0] in "LNM")
        slug, number = "".join(kept).replace(" ", "-"), 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return found


def broken(page: Path) -> list[str]:
    faults = []
    for picture, target in links(page):
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            faults.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(file):
            faults.append(f"{target}: no such heading")
        elif picture and file.suffix != ".svg":
            with PIL.Image.open(file) as image:
                image.load()
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    assert not broken(page)


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# One `thing`: it's R-FCN (2)\n\n## Twice\n\n## Twice\n")
    page.write_text(
        "[a](other.md#one-thing-its-r-fcn-2) [b](other.md#twice-1) [c](https://example.org/x) `[code](none.md)`\n"
        "```\n[code](none.md)\n```\n[d](none.md) ![e](none.webp) [f](other.md#thrice)\n\n[g]: gone.md\n"
    )
    assert broken(page) == [
        "none.md: no such file",
        "none.webp: no such file",
        "other.md#thrice: no such heading",
        "gone.md: no such file",
    ]


def test_every_picture_is_shown():
    """A picture that no page shows is dead weight."""
    shown = {(page.parent / unquote(target)).resolve() for page in PAGES for picture, target in links(page) if picture}
    pictures = {path for path in (ROOT / "docs").rglob("*") if path.suffix in (".png", ".jpg", ".svg", ".webp", ".gif")}
    assert pictures == {path for path in shown if path.is_relative_to(ROOT / "docs")}
