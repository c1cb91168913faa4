"""The command `cascade-rcnn train`."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from cascade_rcnn.api.notes import tell
from cascade_rcnn.api.recipes import find_recipe, names_of, without_effect
from cascade_rcnn.commands.parameters import Resume, call
from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.recipes import RECIPES, Recipe, for_new_paths
from cascade_rcnn.text import printable

if TYPE_CHECKING:
    from cascade_rcnn.api.train import TrainingResult


def train(arguments: Sequence[str]) -> None:
    """Train with a recipe, or a run's recipe.json: `train RECIPE --data.train train.json --data.val val.json`."""
    if not arguments or arguments[0].startswith("-"):
        _list_recipes()
        sys.exit(0 if arguments and arguments[0] in ("-h", "--help") else 2)
    name, *flags = arguments
    default = _auto_base() if name == "auto" else find_recipe(name)
    default = replace(default, data=for_new_paths(default.data, _new_paths(flags)))

    def run(
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = default,
        *,
        folder: Annotated[Path | None, tyro.conf.arg(name="data")] = None,
        resume: Resume = False,
        report: bool = True,
        logger: tuple[Literal["wandb", "mlflow"], ...] = (),
        fit_batch: bool = name == "auto",
        overfit_test: bool = name == "auto",
    ) -> None:
        """Train.

        Args:
            recipe: The recipe and its settings.
            folder: A dataset folder with splits, instead of data.train and data.val; or, with data.val, a training set.
            resume: Resume the training run in the output folder; auto: start a new one if there is none.
            report: After training, write report/report.html on the best checkpoint.
            logger: Also log to Weights & Biases or MLflow, which their own environment variables configure.
            fit_batch: First try whether a batch of the largest images fits into memory; if not, process it in parts.
            overfit_test: First test for 20 seconds whether the model can overfit 8 images (auto: only before more than
                500 updates).
        """

        from cascade_rcnn.api.train import train as run_training
        from cascade_rcnn.api.train import with_paths
        from cascade_rcnn.engine.training.processes import is_first

        given = _given(recipe, flags)
        common: dict[str, Any] = {"resume": resume, "logger": logger, "fit_batch": fit_batch}
        if folder is not None and _has_val(flags):
            recipe, folder = replace(recipe, data=with_paths(recipe.data, folder, splits=False)), None
        if name == "auto":
            data = recipe.data if folder is None else with_paths(recipe.data, folder, splits=True)
            overfit = None if overfit_test else False
            result = run_training("auto", data=data, overfit_test=overfit, **common, **given)
        else:
            tell(without_effect(recipe, names_of(given)) if is_first() else [])
            result = run_training(recipe, data=folder, overfit_test=overfit_test, **common)
        if is_first():
            weights = result.weights
            print(f"learning curve: {result.plot()}")
            if report and result.metrics is not None:
                _report(result)
            print(f"weights: {weights}\nnext: cascade-rcnn predict --checkpoint {weights} --output found IMAGES...")

    description = _AUTO if name == "auto" else f"Train with the recipe in {name}."
    description = RECIPES[name].__doc__ if name in RECIPES else description
    call(run, f"cascade-rcnn train {name}", flags, description)


def _report(result: "TrainingResult") -> None:
    """Write the report. Any failure is only a note, since training itself has succeeded."""
    started = time.monotonic()
    try:
        page = result.report().page
    except Exception as error:  # noqa: BLE001
        tell([f"could not write the report ({reason(error)}); try again with `cascade-rcnn report {result.output}`"])
    else:
        print(f"report: {printable(str(page))} (took {time.monotonic() - started:.0f} s; --no-report skips it)")


_AUTO = "Your own data: initial model, image sizes, anchors and schedule chosen for the data and this machine."


def _auto_base() -> Recipe:
    from cascade_rcnn.api.auto import base

    return base()


def _given(recipe: Recipe, flags: Sequence[str]) -> dict[str, Any]:
    """Return the recipe settings that are given as flags, except `data`, as nested dicts."""
    found: dict[str, Any] = {}
    for word in flags:
        part, _, field = word.partition("=")[0].removeprefix("--").replace("-", "_").partition(".")
        if word.startswith("--") and part == "data" and field in ("flip", "photometric", "jitter", "jitter_size"):
            part, field = "augmentation", ""  # to which the recipe moves these short forms
        if not word.startswith("--") or part == "data" or not hasattr(recipe, part):
            continue
        value = getattr(recipe, part)
        if field:
            field = field if hasattr(value, field) else field.removeprefix("no_")  # of a boolean flag
            found.setdefault(part, {})[field] = getattr(value, field)
        else:
            found[part] = value
    return found


def _has_val(flags: Sequence[str]) -> bool:
    """Return whether validation data is given besides --data. Raises UserError for flags that contradict --data."""
    names = _names(flags)
    val = "--data.val" in names
    wrong = names & {"--data.train", "--data.train-split", *([] if val else ["--data.val-split"])}
    if wrong:
        raise UserError(f"{', '.join(sorted(wrong))}: --data decides this; give --data.train and --data.val instead")
    return val


def _new_paths(flags: Sequence[str]) -> set[str]:
    """Return which of "train" and "val" flags give a path."""
    names = _names(flags)
    return {part for part in ("train", "val") if names & {"--data", f"--data.{part}"}}


def _names(flags: Sequence[str]) -> set[str]:
    return {word.partition("=")[0].replace("_", "-") for word in flags}


def _list_recipes() -> None:
    print("usage: cascade-rcnn train RECIPE --data.train ANNOTATIONS [--flags; RECIPE --help lists them]\n\nrecipes:")
    width = max(map(len, RECIPES))
    print(f"  {'auto':{width}}  {_AUTO}")
    for name, recipe in RECIPES.items():
        print(f"  {name:{width}}  {(recipe.__doc__ or '').splitlines()[0]}")
