"""The worked examples of CONTRIBUTING.md do what it says."""

import re
from pathlib import Path

import pytest

import cascade_rcnn
from cascade_rcnn.cli import main
from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.recipes import RECIPES, cpu, read_recipe

ROOT = Path(__file__).resolve().parents[1]


def example(heading: str) -> str:
    """Return the Python code of a section of CONTRIBUTING.md."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)
    assert section is not None
    (code,) = re.findall(r"^```python\n(.*?)^```$", section[1], re.M | re.S)
    return code


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of the example's recipe, registered as if it had been written beside the others."""
    names = dict(vars(cpu))
    exec(example("Add a recipe"), names)
    (name,) = names.keys() - vars(cpu).keys()
    monkeypatch.setitem(RECIPES, name, names[name])
    return name


def test_the_added_recipe_differs_from_its_model_as_it_says(added):
    recipe = RECIPES[added]()
    assert recipe.options.anchor_sizes[0] < cpu.small().options.anchor_sizes[0]
    assert recipe.options.min_size == 640
    assert recipe.optimizer == cpu.small().optimizer
    assert recipe.output == f"runs/{added}"


def test_the_added_recipe_is_listed_and_trains(added, capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["train"])
    assert f"{added} " in capsys.readouterr().out
    shapes, run = write_shapes(tmp_path / "shapes", train=4, val=2, size=64), tmp_path / "run"
    sets = ["--data.train", str(shapes / "train.json"), "--data.val", str(shapes / "val.json"), "--output", str(run)]
    tiny = ["--options.backbone-width", "8", "--options.pyramid-channels", "8", "--options.head-width", "16"]
    sizes = ["--options.min-size", "64", "--options.rois", "16", "--options.proposals", "20"]
    flags = ["--weights-backbone", "None", "--epochs", "1", "--workers", "0", "--accelerator", "cpu"]
    main(["train", added, *sets, *tiny, *sizes, *flags, "--no-report"])
    assert read_recipe(run / "recipe.json").options.anchor_sizes == (8, 16, 32, 64, 128)
    assert cascade_rcnn.load(run / "last.safetensors").predict(shapes / "images" / "val", threshold=1.0)


def test_every_make_target_that_the_guide_names_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", (ROOT / "CONTRIBUTING.md").read_text(), re.M))
    assert {"lint", "test", "package"} <= named <= targets
