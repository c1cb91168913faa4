"""The command `cascade-rcnn train`."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from cascade_rcnn.api.notes import tell
from cascade_rcnn.api.recipes import find_recipe, names_of, without_effect
from cascade_rcnn.commands.parameters import Resume
from cascade_rcnn.recipes import RECIPES, Recipe
from cascade_rcnn.text import printable

if TYPE_CHECKING:
    from cascade_rcnn.api.train import TrainingResult


def train(arguments: Sequence[str]) -> None:
    """Train with a recipe or a run's recipe.json: `train RECIPE --data.train train.json --data.val val.json`."""
    if not arguments or arguments[0].startswith("-"):
        _list_recipes()
        sys.exit(0 if arguments and arguments[0] in ("-h", "--help") else 2)
    name, *flags = arguments
    default = _auto_base() if name == "auto" else find_recipe(name)

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
            recipe: The recipe to train with.
            folder: A dataset folder with splits, instead of data.train and data.val.
            resume: Resume the training run in the output folder; auto: if there is one, otherwise start it.
            report: Write report/report.html on the best checkpoint at the end.
            logger: Also log to Weights & Biases or MLflow, which their own environment variables configure.
            fit_batch: First try whether a batch of the largest images fits into memory, and train it in parts if not.
            overfit_test: First test on 8 images for 20 seconds whether the model can overfit them; `auto` does so
                before more than 500 updates.
        """

        from cascade_rcnn.api.train import train as run_training
        from cascade_rcnn.api.train import with_paths
        from cascade_rcnn.engine.training.processes import is_first

        given = _given(recipe, flags)
        common: dict[str, Any] = {"resume": resume, "logger": logger, "fit_batch": fit_batch}
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

    description = _AUTO if name == "auto" else f"The training that {name} describes."
    description = RECIPES[name].__doc__ if name in RECIPES else description
    tyro.cli(run, prog=f"cascade-rcnn train {name}", description=description, args=flags)


def _report(result: "TrainingResult") -> None:
    """Write the report; a failure is only noted, as the training itself has succeeded."""
    started = time.monotonic()
    try:
        page = result.report().page
    except Exception as error:  # noqa: BLE001
        reason = str(error).partition("\n")[0] or type(error).__name__
        tell([f"the report could not be made ({reason}); try again: cascade-rcnn report {result.output}"])
    else:
        print(f"report: {printable(str(page))} (made in {time.monotonic() - started:.0f} s; --no-report leaves it out)")


_AUTO = "Your own data: start, sizes, anchors, batch, rates and epochs chosen by the data and the machine."


def _auto_base() -> Recipe:
    from cascade_rcnn.api.auto import base

    return base()


def _given(recipe: Recipe, flags: Sequence[str]) -> dict[str, Any]:
    """Return the recipe's settings among the flags, nested, without its data."""
    found: dict[str, Any] = {}
    for word in flags:
        part, _, field = word.partition("=")[0].removeprefix("--").replace("-", "_").partition(".")
        if word.startswith("--") and part == "data" and field in ("flip", "photometric", "jitter", "jitter_size"):
            part, field = "augmentation", ""  # to which the recipe moves these
        if not word.startswith("--") or part == "data" or not hasattr(recipe, part):
            continue
        value = getattr(recipe, part)
        if field:
            field = field if hasattr(value, field) else field.removeprefix("no_")  # of a flag without a value
            found.setdefault(part, {})[field] = getattr(value, field)
        else:
            found[part] = value
    return found


def _list_recipes() -> None:
    print("usage: cascade-rcnn train RECIPE --data.train ANNOTATIONS [--flags; RECIPE --help lists them]\n\nrecipes:")
    print(f"  {'auto':20} {_AUTO}")
    for name, recipe in RECIPES.items():
        print(f"  {name:20} {(recipe.__doc__ or '').splitlines()[0]}")
