"""The code of docs/python.md runs, section by section, with a thinner model."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import cascade_rcnn
from cascade_rcnn.config import ModelOptions
from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.recipes import RECIPES, bundled

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"
FIRST, SLOW = "First steps", {"torch.compile", "Multiple processes", "Lightning"}


def sections() -> dict[str, list[str]]:
    """Return the code of each section that has any."""
    titles = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.M)[1:]
    code = {
        title: re.findall(r"```python\n(.*?)```", text, flags=re.S)
        for title, text in zip(titles[::2], titles[1::2], strict=True)
    }
    return {title: blocks for title, blocks in code.items() if blocks}


def run(blocks: list[str], names: dict[str, Any]) -> None:
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the names that the first section defines."""
    folder = tmp_path_factory.mktemp("page")
    names: dict[str, Any] = {"__name__": "page"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        thin(patch)
        run(sections()[FIRST], names)
    return folder, names


def thin(patch: pytest.MonkeyPatch) -> None:
    """Make the recipe `shapes` train within a second, on half of the images."""
    options = ModelOptions(backbone_width=8, pyramid_channels=8, head_width=8, proposals=30, rois=8, min_size=None)
    recipe = replace(bundled.shapes(), options=options, workers=0, accelerator="cpu", evaluate_every=1)
    patch.setitem(RECIPES, "shapes", lambda: recipe)
    patch.setattr(cascade_rcnn, "write_shapes", partial(write_shapes, train=8, val=2, size=96))


def others() -> list[Any]:
    assert sections().keys() > {FIRST, *SLOW}
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in sections() if name != FIRST]


def test_the_first_section_leaves_what_it_says(session):
    folder, names = session
    assert (folder / "runs" / "first" / "best.safetensors").is_file()
    assert (folder / "metrics.json").is_file()
    assert names["found"].xyxy.shape[1] == 4


@pytest.mark.filterwarnings("ignore")  # from Lightning's advice
@pytest.mark.parametrize("title", others())
def test_the_other_sections_run(session, monkeypatch, title):
    folder, names = session
    monkeypatch.chdir(folder)
    thin(monkeypatch)
    run(sections()[title], {**names, "__name__": "__main__"})
