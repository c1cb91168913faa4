"""Training of detectors."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Unpack

from lightning_fabric.loggers.logger import Logger

from cascade_rcnn.api.auto import base, by_data
from cascade_rcnn.api.notes import tell
from cascade_rcnn.api.recipes import RecipeOverrides, find_recipe, names_of, without_effect
from cascade_rcnn.api.report import report
from cascade_rcnn.arguments import as_list, as_path, known_options
from cascade_rcnn.data import Annotations, is_one_split, training_splits
from cascade_rcnn.data.augmentation.build import Augmentation
from cascade_rcnn.data.targets import Transforms
from cascade_rcnn.data.workers import check_first_run
from cascade_rcnn.engine.datasets import Classes, Data, Given, as_dataset, check_given, check_names, meaning
from cascade_rcnn.engine.training.callbacks import Callback, Hooks
from cascade_rcnn.engine.training.data import Sources, given_train, image_checks
from cascade_rcnn.engine.training.learning_curve import plot
from cascade_rcnn.engine.training.loggers import LoggerName, as_logger
from cascade_rcnn.engine.training.processes import is_first
from cascade_rcnn.engine.training.state import holds_state
from cascade_rcnn.engine.training.train import Overfit
from cascade_rcnn.engine.training.train import train as run_training
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import Metrics
from cascade_rcnn.files import read_json
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.recipes import DataConfig, Recipe, for_new_paths, read_recipe, with_changes
from cascade_rcnn.reporting.files import Report
from cascade_rcnn.text import printable


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The result of a training run.

    >>> result = train("recipe.json", data="shapes", epochs=1, output="runs/result")
    >>> result.weights.name, result.metrics.images
    ('best.safetensors', 4)
    >>> result.model.class_names
    ['ellipse', 'rectangle', 'triangle', 'star']
    """

    output: Path
    weights: Path  # of the best epoch, or the last one if none was evaluated
    metrics: Metrics | None  # of the best epoch; None if none was evaluated

    @cached_property
    def model(self) -> Detector:
        """The detector with `weights`, on the CPU in evaluation mode; `cascade_rcnn.load` has more options."""
        return load(self.weights)

    def plot(self) -> Path:
        """Plot the learning curve, losses and AP by update, and return the path of the picture."""
        return plot(self.output)

    def report(self, data: Data | None = None) -> Report:
        """Write report/report.html, which explains the AP of the best checkpoint and suggests improvements.

        `data` is required if the validation data was given as an object; `cascade_rcnn.report` has more options.
        """
        return report(self.output, data=data)


@known_options
def train(
    recipe: Recipe | str | Path | None = None,
    *,
    data: Data | DataConfig | Mapping[str, Any] | None = None,
    val: Data | None = None,
    classes: Classes | None = None,
    transforms: Transforms | None = None,
    callbacks: Sequence[Callback] = (),
    logger: Logger | LoggerName | Sequence[Logger | LoggerName] | None = None,
    resume: bool | Literal["auto"] = False,
    fit_batch: bool | None = None,
    overfit_test: bool | None = None,
    **overrides: Unpack[RecipeOverrides],
) -> TrainingResult:
    """Train a detector.

    `recipe` is a `Recipe`, a name (`cascade-rcnn train` lists them), or the recipe.json of a run; default: "finetune".
    "auto" chooses settings for the data and prints them with reasons. Keywords override fields of the recipe, with
    dicts for fields of nested configs: `epochs=5, optimizer={"lr": 1e-4}`.

    `data` is the training set: a path in any format that `load_annotations` reads (a folder with several splits also
    provides the validation set), `Annotations`, a torchvision-style dataset (`DetectionData`), or the recipe's
    `DataConfig` or a dict of its fields. `val` is the validation set, and `classes` names the labels 1..M of
    torchvision-style datasets.

    `augmentation` is a list of words or configs (docs/augmentation.md). `transforms` (torchvision.transforms.v2)
    replaces it; `build_transforms` returns flips and colour jitter to combine with your own. Resizing and normalisation
    are part of the model. `callbacks` are called after every update and epoch, and metrics are logged to every `logger`
    ("wandb", "mlflow", or any of Lightning's). `resume` continues the run in `output` with the same data and settings;
    "auto" starts a new one if there is none, for programs that are restarted after a failure. `fit_batch` first tries
    whether a batch of the largest images fits into memory; if not, each update processes its images in parts; the
    default is to do so only with recipe "auto". `overfit_test` first trains a copy of the model on 8 images for at most
    20 seconds, and prints whether it can overfit them and what to do if not; the default is to do so only with recipe
    "auto", before runs of more than 500 updates. With several `devices`, the program is started once per device;
    torchrun and Ray Train start the processes themselves (docs/clusters.md).

    Raises UserError for mistakes, and `Interrupted`, with everything saved, after Ctrl-C.

    >>> result = train("recipe.json", data="shapes", epochs=1, output="runs/first")
    >>> sorted(path.name for path in result.output.glob("*.safetensors"))
    ['best.safetensors', 'last.safetensors']

    >>> from torchvision.transforms import v2
    >>> dataset = Dataset(load_annotations("shapes/train.json"))
    >>> result = train(
    ...     "recipe.json", data=dataset, transforms=v2.RandomVerticalFlip(), output="runs/second",
    ...     epochs=1, optimizer={"lr": 5e-4},
    ... )
    >>> result.metrics is None  # no validation set
    True
    """
    check_first_run()
    given, hooks = names_of(overrides), _hooks(callbacks, logger)
    if transforms is not None and not (callable(transforms) or isinstance(transforms, Augmentation)):
        raise UserError(f"transforms is {transforms!r}; give a transform of torchvision.transforms.v2 or a function")
    first, resume = _begin(recipe, overrides, resume=resume)
    if not isinstance(recipe, Recipe):
        new = set(data) if isinstance(data, Mapping) else {"train"} if val is not None else {"train", "val"}
        first = replace(first, data=for_new_paths(first.data, new if data is not None else ()))
    chosen = with_changes(first, overrides)
    if isinstance(data, DataConfig | Mapping):
        chosen, data = with_changes(chosen, {"data": data}), None
    config, train_set, val_set = _sets(chosen.data, data, val)
    check_names(classes, train_set, val_set)
    chosen = replace(chosen, data=config)
    if transforms is not None:
        chosen = replace(chosen, augmentation=())
    if recipe == "auto" and not resume:
        chosen = _sized(chosen, given, train_set, classes)
    tell(without_effect(chosen, given) if is_first() else [])
    sources = Sources(train=train_set, val=val_set, classes=classes, transforms=transforms)
    unasked: Overfit = "if long" if recipe == "auto" else "never"
    overfit = unasked if overfit_test is None else "always" if overfit_test else "never"
    fit = recipe == "auto" if fit_batch is None else fit_batch
    output = run_training(chosen, resume=resume, sources=sources, hooks=hooks, fit=fit, overfit=overfit)
    return _result(output)


def _hooks(callbacks: Sequence[Callback], logger: Logger | LoggerName | Sequence[Logger | LoggerName] | None) -> Hooks:
    logger = () if logger is None else logger
    loggers = [logger] if isinstance(logger, str) or not isinstance(logger, Sequence) else logger
    callbacks = as_list("callbacks", callbacks)
    for callback in callbacks:
        methods = [getattr(callback, name, None) for name in ("on_step_end", "on_epoch_end")]
        if isinstance(callback, type) or not all(map(callable, methods)):
            raise UserError(f"callbacks has {callback!r}; give objects of subclasses of cascade_rcnn.Callback")
    return Hooks(callbacks=callbacks, loggers=[as_logger(one) for one in loggers])


def _begin(
    recipe: Recipe | str | Path | None, overrides: RecipeOverrides, *, resume: bool | Literal["auto"]
) -> tuple[Recipe, bool]:
    """Return the recipe without overrides, and whether a run is resumed.

    A resumed "auto" run keeps the choices stored in its folder.
    """
    if isinstance(recipe, Recipe):
        first = recipe
    else:
        first = base() if recipe == "auto" else find_recipe("finetune" if recipe is None else recipe)
    output = as_path("output", overrides.get("output", first.output))
    resumed = holds_state(output) if resume == "auto" else resume
    if recipe == "auto" and resumed and (output / "recipe.json").is_file():  # otherwise, training refuses to resume
        first = read_recipe(output / "recipe.json")
    return first, resumed


def _sized(recipe: Recipe, given: set[str], train_set: Given | None, classes: Classes | None) -> Recipe:
    """Choose settings for the training set and print them."""
    found = given_train(recipe.data, Sources(train=train_set))
    annotations = as_dataset(found, meaning(classes, None), **image_checks(recipe)).annotations
    chosen = by_data(recipe, given, annotations)
    if is_first():
        print(*map(printable, str(chosen).splitlines()), sep="\n", file=sys.stderr)
    return chosen.recipe


def _sets(config: DataConfig, data: Data | None, val: Data | None) -> tuple[DataConfig, Given | None, Given | None]:
    """Return the recipe's data config with the given paths, and the training and validation sets given as objects."""
    objects: list[Given | None] = [None, None]
    if isinstance(data, str | Path):
        config = with_paths(config, Path(data), splits=val is None)
    elif data is not None:
        objects[0] = data
        config = replace(config, train=_source(data), train_images=None, train_split=None)
        config = config if val is not None else replace(config, val="", val_images=None, val_split=None)
    if isinstance(val, str | Path):
        config = replace(config, val=str(val), val_images=None, val_split=None)
    elif val is not None:
        objects[1] = val
        config = replace(config, val=_source(val), val_images=None, val_split=None)
    return config, objects[0], objects[1]


def _source(given: Any) -> str:
    """Return the description of a dataset object for recipe.json."""
    check_given(given)
    return given.source if isinstance(given, Annotations) else type(given).__name__


def with_paths(config: DataConfig, path: Path, *, splits: bool) -> DataConfig:
    """Set the path of the training set; with `splits`, a folder with several also provides the validation set."""
    split, val_split = (None, None) if is_one_split(path) else training_splits(path)
    config = replace(config, train=str(path), train_split=split)
    if not splits:
        return config
    return replace(config, val=str(path) if val_split else "", val_split=val_split)


def _result(output: Path) -> TrainingResult:
    best, weights = output / "best.json", output / "best.safetensors"
    if not weights.exists():
        return TrainingResult(output=output, weights=output / "last.safetensors", metrics=None)
    metrics = {name: value for name, value in read_json(best).items() if name != "epoch"}
    return TrainingResult(output=output, weights=weights, metrics=Metrics.from_dict(metrics))
