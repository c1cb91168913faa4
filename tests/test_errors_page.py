"""docs/errors.md: each command on the page ends with the line on the page."""

import json
import re
import shlex
from pathlib import Path

import pytest

from cascade_rcnn.cli import main
from cascade_rcnn.data.shapes import write_shapes

PAGE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\$ cascade-rcnn (.+)\n(error: .+)$", PAGE, re.M)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    write_shapes(folder / "shapes", train=2, val=3, size=96)
    text = (folder / "shapes" / "val.json").read_text()
    (folder / "truncated.json").write_text(text[:300])
    unknown, size = json.loads(text), json.loads(text)
    unknown["annotations"][0]["category_id"] = 99
    size["images"][0]["width"] = 50
    (folder / "unknown.json").write_text(json.dumps(unknown))
    (folder / "size.json").write_text(json.dumps(size))
    return folder


@pytest.mark.parametrize(("command", "line"), SHOWN, ids=[command[:40] for command, _ in SHOWN])
def test_a_mistake_ends_in_the_line_shown(folder, monkeypatch, tmp_path, capsys, command, line):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CASCADE_RCNN_CACHE", str(tmp_path))
    monkeypatch.setenv("CASCADE_RCNN_OFFLINE", "1")
    with pytest.raises(SystemExit) as end:
        main(shlex.split(command))
    assert end.value.code == (2 if "did you mean" in line else 1)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    start, dots, _ = line.partition(" ...")
    assert last.startswith(start) if dots else last == line


def test_the_page_shows_commands():
    assert len(SHOWN) >= 10
