"""Fixtures: a complete study, as small as possible, which runs once and which many tests examine."""

from dataclasses import replace
from pathlib import Path

import pytest

from cascade_rcnn.data.shapes import CLASSES, write_shapes
from cascade_rcnn.engine.training.prepare import build_model
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.recipes import DataConfig, Recipe
from cascade_rcnn_study import plots
from cascade_rcnn_study.artifacts import choose
from cascade_rcnn_study.execution import run_study
from cascade_rcnn_study.study import Study


@pytest.fixture(scope="session")
def base(thin_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Return a recipe that trains a thin cascade for one epoch on four images of 32 pixels."""
    data = write_shapes(tmp_path_factory.mktemp("data") / "shapes", train=4, val=3, size=32, seed=3)
    return replace(
        thin_recipe,
        options=replace(thin_recipe.options, score_threshold=0.0),
        data=DataConfig(train=str(data / "train.json"), val=str(data / "val.json")),
        output=str(tmp_path_factory.mktemp("study") / "study"),
    )


@pytest.fixture(scope="session")
def untrained(base: Recipe) -> Detector:
    """Return the base recipe's cascade with random weights."""
    return build_model(base, CLASSES).eval()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save an empty drawing in place of each plot, which takes a second."""
    monkeypatch.setattr(plots, "save", lambda figure, path: path.with_suffix(".svg").write_text("<svg></svg>"))


@pytest.fixture(scope="session")
def finished(base: Recipe) -> Path:
    """Run a study, everything with one seed but Table 2 with two, and return its folder."""
    run_study(Study(base=base, artifacts=choose(["all"])), say=lambda _: None)
    run_study(Study(base=base, artifacts=choose(["table2"]), seeds=2), say=lambda _: None)
    return Path(base.output)
