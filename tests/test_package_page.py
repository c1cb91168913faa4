"""The README on package indexes: with absolute links."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_links_and_pictures_are_absolute():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    text = (ROOT / "README.md").read_text()
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for one in hook["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    home = project["project"]["urls"]["Homepage"]
    assert all(re.match("https?://|#", link) for link in links)
    assert f"{home}/blob/main/docs/training.md" in links
    raw = f"{home.replace('github.com', 'raw.githubusercontent.com')}/main"
    assert pictures
    for picture in pictures:
        assert f"]({raw}/{picture})" in text
        assert (ROOT / picture).is_file()
