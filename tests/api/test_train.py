"""`train` from Python: every form of data, custom transforms, callbacks, loggers, and resuming."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from lightning_fabric.loggers import CSVLogger
from torch.utils.data import Subset
from torchvision import datasets
from torchvision.transforms import v2

from cascade_rcnn import (
    Annotations,
    Callback,
    DataConfig,
    Dataset,
    EpochEnd,
    Recipe,
    StepEnd,
    TrainingResult,
    UserError,
    load_annotations,
    train,
)
from cascade_rcnn.engine.training import advice
from cascade_rcnn.engine.training.metric_log import read_csv
from cascade_rcnn.engine.training.state import FILES


def weights(result: TrainingResult) -> dict[str, torch.Tensor]:
    return result.model.state_dict()


def same(one: TrainingResult, other: TrainingResult) -> bool:
    mine, theirs = weights(one), weights(other)
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def settings(result: TrainingResult) -> dict[str, dict[str, object]]:
    return json.loads((result.output / "recipe.json").read_text())


def test_a_folder_gives_both_sets_and_keywords_change_the_recipe(recipe, shapes):
    result = train(recipe, data=shapes, optimizer={"lr": 5e-4}, seed=4)
    assert result.weights == result.output / "best.safetensors"
    assert result.metrics is not None
    assert result.metrics.images == 4
    assert not result.model.training
    assert result.plot().is_file()
    written = settings(result)
    assert written["data"]["val_split"] == "val"
    assert (written["optimizer"]["lr"], written["seed"]) == (5e-4, 4)


def test_a_run_warns_of_anchors_and_of_a_flat_loss(recipe, shapes, monkeypatch, capsys):
    monkeypatch.setattr(advice, "_WINDOW", 1)  # update; the losses of the first and fourth are compared
    monkeypatch.setattr(advice, "_FLAT", 0.0)  # any loss counts as flat
    monkeypatch.setattr(advice, "_RISEN", 1e6)
    train(recipe, data=shapes, epochs=2, options={"anchor_sizes": (500, 520, 540, 560, 580)})
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("note: the anchors do not fit the boxes: 100 %") for line in lines) == 1
    flat = "advice: the loss of proposals and classes is flat"
    assert sum(line.startswith(flat) for line in lines) == 1


def test_every_form_of_the_same_data_trains_the_same(recipe, shapes, plain, tmp_path):
    """Paths, annotations, our dataset and a user's own: the same images in the same order, bit for bit."""
    classes = [category.name for category in load_annotations(shapes / "train.json").categories]
    forms = {
        "paths": {"data": shapes / "train.json", "val": str(shapes / "val.json")},
        "config": {"data": DataConfig(train=str(shapes / "train.json"), val=str(shapes / "val.json"))},
        "keywords": {"data": {"train": str(shapes / "train.json"), "val": str(shapes / "val.json")}},
        "annotations": {split: load_annotations(shapes / f"{name}.json") for split, name in SPLITS.items()},
        "ours": {split: Dataset(load_annotations(shapes / f"{name}.json")) for split, name in SPLITS.items()},
        "anybody's": {"data": plain["train"], "val": plain["val"], "classes": classes},
        "subset": {"data": Subset(plain["train"], range(8)), "val": shapes / "val.json", "classes": classes},
    }
    results = {name: train(recipe, output=tmp_path / name, **form) for name, form in forms.items()}
    first = results.pop("paths")
    for name, result in results.items():
        assert same(result, first), name
        assert result.metrics == first.metrics, name
    assert settings(results["anybody's"])["data"]["train"] == "Plain"


SPLITS = {"data": "train", "val": "val"}


def test_torchvision_s_own_data_set(recipe, shapes):
    coco = datasets.CocoDetection(shapes / "images", shapes / "train.json")
    names = {category["id"]: category["name"] for category in coco.coco.cats.values()}
    result = train(recipe, data=datasets.wrap_dataset_for_transforms_v2(coco), classes=names)
    assert result.metrics is None
    assert result.weights.name == "last.safetensors"
    assert result.model.class_names == list(names.values())


def test_without_names_the_classes_are_numbered(recipe, plain):
    result = train(recipe, data=plain["train"], val=plain["val"])
    assert result.model.class_names[0] == "class 1"
    assert result.metrics is not None


def test_own_transforms_take_the_place_of_the_recipe_s(recipe, shapes, tmp_path):
    seen: list[float] = []

    def watch(image, target):
        seen.append(float(target["boxes"][:, 0].sum()))
        return image, target

    data = shapes / "train.json"
    one = train(recipe, data=data, transforms=watch, output=tmp_path / "one")
    assert len(seen) == 8
    truth = Dataset(load_annotations(data))
    assert sorted(seen) == pytest.approx(sorted(float(truth[i][1]["boxes"][:, 0].sum()) for i in range(8)))
    assert settings(one)["augmentation"] == []
    flipped = v2.Compose([v2.RandomHorizontalFlip(1), v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes()])
    assert not same(one, train(recipe, data=data, transforms=flipped, output=tmp_path / "two"))


class Record(Callback):
    def __init__(self, last: int = 99) -> None:
        self.steps: list[StepEnd] = []
        self.epochs: list[EpochEnd] = []
        self.last = last

    def on_step_end(self, step: StepEnd) -> None:
        assert step.model.training
        self.steps.append(step)

    def on_epoch_end(self, epoch: EpochEnd) -> bool:
        assert (epoch.output / "last.safetensors").exists()
        self.epochs.append(epoch)
        return epoch.epoch == self.last


class Trying(Record):
    def on_step_end(self, step: StepEnd) -> None:
        super().on_step_end(step)
        step.model.eval()  # and left so


def test_callbacks_are_told_what_the_log_says(recipe, shapes):
    record = Trying()
    result = train(recipe, data=shapes, callbacks=[record], epochs=3, evaluate_every=2)
    rows = read_csv(result.output / "train.csv")
    assert [step.step for step in record.steps] == [row["step"] for row in rows] == list(range(1, 13))
    assert [step.epoch for step in record.steps] == [row["epoch"] for row in rows]
    assert [sum(step.losses.values()) for step in record.steps] == pytest.approx([row["loss"] for row in rows])
    assert [step.learning_rate for step in record.steps] == pytest.approx([row["lr"] for row in rows])
    assert record.steps[0].total_steps == 12
    assert [epoch.step for epoch in record.epochs] == [4, 8, 12]
    assert [epoch.metrics is None for epoch in record.epochs] == [True, False, False]
    best = max((epoch.metrics for epoch in record.epochs if epoch.metrics), key=lambda metrics: metrics.ap)
    assert result.metrics is not None
    assert result.metrics.ap == best.ap


def test_a_callback_ends_a_training_early_and_resuming_goes_on(recipe, shapes, tmp_path, capsys):
    result = train(recipe, data=shapes, callbacks=[Record(), Record(last=1)], epochs=2)
    assert "stopped after epoch 1 by on_epoch_end of Record\n" in capsys.readouterr().err
    assert json.loads((result.output / "results.json").read_text())["epochs"] == 1
    record = Record()
    resumed = train(recipe, data=shapes, callbacks=[record], epochs=2, resume=True)
    assert [epoch.epoch for epoch in record.epochs] == [2]
    whole = train(recipe, data=shapes, epochs=2, output=tmp_path / "whole")
    assert same(
        replace(resumed, weights=resumed.output / "last.safetensors"),
        replace(whole, weights=whole.output / "last.safetensors"),
    )


def test_a_logger_gets_settings_and_metrics(recipe, shapes, tmp_path):
    logger = CSVLogger(tmp_path, name="log", version=0)
    told: list[dict[str, object]] = []
    logger.log_hyperparams = told.append  # type: ignore[method-assign]  # the logger itself stores none
    train(recipe, data=shapes, logger=logger)
    lines = (tmp_path / "log" / "version_0" / "metrics.csv").read_text().splitlines()
    assert {"train/loss", "train/lr", "evaluation/ap", "step"} <= set(lines[0].split(","))
    assert len(lines) == 1 + 4 + 1  # the header, the updates and the evaluation
    assert told[0]["model"] == recipe.model


class Log:
    """What the documentation asks of a logger, and nothing of Lightning's."""

    status = ""

    def log_hyperparams(self, settings: dict[str, object]) -> None:
        self.model = settings["model"]

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...

    def finalize(self, status: str) -> None:
        self.status = status


def test_a_logger_learns_that_a_run_failed(recipe, shapes):
    def fail(image, target):
        raise UserError("enough")

    logger = Log()
    with pytest.raises(UserError, match="enough"):
        train(recipe, data=shapes, transforms=fail, logger=logger)
    assert (logger.model, logger.status) == (recipe.model, "failed")


def test_resume_auto_begins_a_training_and_continues_it(recipe, shapes, monkeypatch):
    """Includes a recipe whose settings "auto" has chosen and written down."""
    monkeypatch.setattr("cascade_rcnn.api.train.base", lambda: replace(recipe, seed=9))
    monkeypatch.setattr("cascade_rcnn.api.train.by_data", lambda chosen, *_: Chosen(replace(chosen, seed=3)))
    given = {"data": shapes, "output": recipe.output, "epochs": 1, "resume": "auto"}
    first = train("auto", **given)
    rows = read_csv(first.output / "train.csv")
    again = train("auto", **given)
    assert read_csv(again.output / "train.csv") == rows != []
    assert same(first, again)
    assert settings(again)["seed"] == 3


class Chosen(NamedTuple):
    recipe: Recipe


def test_auto_leaves_out_bad_images_as_the_training_does(recipe, shapes, tmp_path, monkeypatch):
    folder, seen = tmp_path / "data", []
    shutil.copytree(shapes, folder)
    next((folder / "images" / "train").iterdir()).write_bytes(b"damaged")

    def chosen(given: Recipe, _: set[str], annotations: Annotations) -> Chosen:
        seen.append(len(annotations))
        return Chosen(given)

    monkeypatch.setattr("cascade_rcnn.api.train.base", lambda: recipe)
    monkeypatch.setattr("cascade_rcnn.api.train.by_data", chosen)
    options = {"data": folder, "output": recipe.output, "overfit_test": False, "fit_batch": False}
    with pytest.raises(UserError, match="cannot open this image"):
        train("auto", **options)
    train("auto", **{**options, "data": {"train": str(folder / "train.json"), "bad_images": "skip"}})
    assert seen == [7]


@pytest.mark.parametrize("name", FILES)
def test_files_that_no_run_has_written_are_not_replaced(recipe, shapes, tmp_path, name):
    shutil.copytree(shapes, tmp_path / "run")
    (tmp_path / "run" / name).write_text("mine")
    with pytest.raises(UserError, match=f"run/{name}: would be replaced|contains a training run") as caught:
        train(recipe, data=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / name).read_text() == "mine"
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_a_run_begins_in_the_folder_of_its_data_or_of_a_run_that_saved_nothing(recipe, shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / "run")
    before = set((tmp_path / "run").iterdir())
    result = train(recipe, data=tmp_path / "run")
    result.plot()
    written = {path.name for path in set((tmp_path / "run").iterdir()) - before}
    assert written <= {*FILES, "recipe.json", "tensorboard", ".lock"}
    (result.output / "last.state.pt").unlink()
    (result.output / "previous.state.pt").unlink()
    with pytest.raises(UserError, match=r"best\.safetensors: would replace an input"):
        train(recipe, data=shapes, init=str(result.weights))
    assert train(recipe, data=shapes).metrics is not None


def test_a_data_set_that_has_changed_is_not_resumed_on(recipe, shapes, plain):
    train(recipe, data=plain["train"], val=plain["val"], epochs=2, callbacks=[Record(last=1)])
    fewer = Subset(plain["train"], range(7))
    with pytest.raises(UserError, match=r"the training images have changed since this run started"):
        train(recipe, data=fewer, val=plain["val"], epochs=2, resume=True)
    again = train(recipe, data=plain["train"], val=plain["val"], epochs=2, resume=True)
    assert json.loads((again.output / "results.json").read_text())["epochs"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "nowhere"}, "nowhere: no such file or folder"),
        ({"data": 3}, "cannot use int as data; give a path"),
        ({"data": iter([])}, "cannot use list_iterator as data"),
        ({"data": []}, "list: the dataset is empty"),
        ({"data": [(torch.zeros(3, 64, 64), {})]}, "there are no boxes to learn from"),
        ({}, "nothing to train on"),
        ({"transforms": "natural", "data": "x"}, "transforms is 'natural'; give a transform of"),
        ({"callbacks": Record(), "data": "x"}, "callbacks is .*; give a list"),
        ({"callbacks": [Record], "data": "x"}, "callbacks has .*; give objects of subclasses of cascade_rcnn.Callback"),
        ({"logger": object(), "data": "x"}, "there is no logger .*; give wandb, mlflow, or an object with log_hyper"),
        ({"classes": "ab", "data": [(torch.zeros(3, 64, 64), {})]}, "classes is 'ab': Expected `dict | list`"),
        ({"classes": [1, 2], "data": [(torch.zeros(3, 64, 64), {})]}, "classes is .1, 2.: Expected `str`, got `int`"),
        ({"recipe": "smal", "data": "x"}, "did you mean 'small'"),
        ({"epoch": 1, "data": "x"}, "did you mean 'epochs'"),
        ({"data": {"trian": "x"}}, r"'data\.trian'; did you mean 'train'"),
    ],
)
def test_mistakes_are_one_line(recipe, arguments, message):
    with pytest.raises(UserError, match=message) as error:
        train(**{"recipe": recipe, **arguments})
    assert "\n" not in str(error.value)


def test_mistakes_about_classes(recipe, shapes, plain):
    with pytest.raises(UserError, match="annotations have class names of their own"):
        train(recipe, data=shapes, classes=["a"])
    with pytest.raises(UserError, match=r"Plain, item \d: label \d is not among 1 "):
        train(recipe, data=plain["train"], classes=["a"])
    with pytest.raises(UserError, match="classes: 'a' is not a class of the training data; choose from 'ellipse'"):
        train(recipe, data=shapes / "train.json", val=plain["val"], classes=["a"])
    other = Path(recipe.output).parent / "other.json"
    truth = json.loads((shapes / "val.json").read_text())
    truth["categories"][0]["name"] = "circle"
    other.write_text(json.dumps(truth))
    (other.parent / "images").symlink_to(shapes / "images")
    with pytest.raises(UserError, match="training and validation classes differ"):
        train(recipe, data=shapes / "train.json", val=other)
