"""A whole study, as small as it can be: run once, looked at by many tests."""

from pathlib import Path

import pytest

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.recipes import DataConfig, OptimizerConfig, Recipe
from cascade_rcnn.studies.experiments import Study, run
from cascade_rcnn.studies.runs import choose


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """One epoch of four images of 32 pixels for the thinnest of networks."""
    data = write_shapes(tmp_path_factory.mktemp("data") / "shapes", train=4, val=3, size=32, seed=3)
    return Recipe(
        model="cascade_rcnn_resnet18_fpn",
        weights_backbone=None,
        options=ModelOptions(
            backbone_width=8,
            pyramid_channels=8,
            head_width=16,
            anchor_sizes=(8, 16, 32, 64, 128),
            proposals=30,
            rois=16,
            min_size=None,
            score_threshold=0.0,
        ),
        data=DataConfig(train=str(data / "train.json"), val=str(data / "val.json")),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, lr_batch=2, warmup_steps=1, schedule="cosine"),
        epochs=1,
        batch_size=2,
        accelerator="cpu",
        precision="fp32",
        workers=0,
        output=str(tmp_path_factory.mktemp("study") / "study"),
    )


@pytest.fixture(scope="session")
def finished(base: Recipe) -> Path:
    """The folder of a study that has been run: everything with one seed, Table 2 with two."""
    run(Study(base=base, artifacts=choose(["all"])), say=lambda _: None)
    run(Study(base=base, artifacts=choose(["table2"]), seeds=2), say=lambda _: None)
    return Path(base.output)
