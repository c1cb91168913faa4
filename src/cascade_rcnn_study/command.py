"""`cascade-rcnn study list | plan | run | render`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cascade_rcnn.arguments import check_number
from cascade_rcnn.commands.parameters import call
from cascade_rcnn.errors import UsageError, UserError, nearest
from cascade_rcnn.recipes import RECIPES, Recipe
from cascade_rcnn.text import count

if TYPE_CHECKING:
    from cascade_rcnn_study.study import Study

_USAGE = """usage: cascade-rcnn study COMMAND ...

commands:
  list                 list the tables and figures with the models that each needs
  plan WHAT... FLAGS   list the missing runs and estimate their time from a short trial of each model
  run WHAT... FLAGS    train and measure what is missing, then write the report; --devices 4: four models at a time
  render --output DIR  write the report from finished runs; needs no data

WHAT: names from the list, or all. FLAGS: --data.train ANNOTATIONS --data.val ANNOTATIONS [--seeds 3] [--output DIR]
[--recipe NAME, default small, and the flags of that recipe, such as --epochs: see `cascade-rcnn train NAME --help`]"""


def main(arguments: Sequence[str]) -> None:
    """Run a subcommand. Raises UserError for invalid arguments or data, and `Interrupted` when the user stops it."""
    verb, rest = (arguments[0], list(arguments[1:])) if arguments else ("--help", [])
    if verb in ("-h", "--help"):
        print(_USAGE)
    elif verb == "list":
        call(show_list, "cascade-rcnn study list", rest)
    elif verb in ("plan", "run"):
        _plan_or_run(verb, rest)
    elif verb == "render":
        call(render, "cascade-rcnn study render", rest)
    else:
        known = ("list", "plan", "run", "render")
        raise UsageError(f"study has no command '{verb}'{nearest(verb, known)}; known: {', '.join(known)}")


def show_list() -> None:
    """List the tables and figures with the models that each needs."""
    from cascade_rcnn_study.artifacts import ARTIFACTS
    from cascade_rcnn_study.variants import variants

    titles = {name: variant.title for name, variant in variants(RECIPES["small"]()).items()}
    width = max(map(len, ARTIFACTS))
    for artifact in ARTIFACTS.values():
        print(f"{artifact.name:{width}} {artifact.title}")
        print(f"{'':{width}} {'; '.join(titles[name] for name in artifact.variants) or 'nothing to train'}")


def render(*, output: Path, resamples: int = 500) -> None:
    """Write OUTPUT/report from OUTPUT/runs, and mark what is missing.

    Args:
        output: Folder of the study.
        resamples: Number of bootstrap resamples (of validation images and seeds) for the confidence intervals.
    """
    from cascade_rcnn_study.artifacts import choose

    check_number("resamples", resamples, 1, whole=True)
    _render(output, [artifact.name for artifact in choose(["all"])], resamples)


def _render(output: Path, asked: Iterable[str], resamples: int) -> None:
    from cascade_rcnn_study.report import render as write

    print(f"report: {write(output, asked, resamples)}")


def _plan_or_run(verb: str, arguments: list[str]) -> None:
    from cascade_rcnn_study.artifacts import choose

    number = next((k for k, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    names, flags = arguments[:number], arguments[number:]
    if not names and not {"-h", "--help"} & set(flags):
        choose(names)  # fails, and says what belongs before the flags
    default, flags = _take_recipe(flags)

    def study(
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = default,
        *,
        seeds: int = 1,
        families: tuple[str, ...] = (),
        family_weights: tuple[str, ...] = (),
        sample_images: int = 300,
        resamples: int = 500,
    ) -> None:
        """Reproduce the tables and figures of the paper on your data.

        Args:
            recipe: The recipe that all models of the study share.
            seeds: Number of training runs of each model in a table, with seeds from --seed on; figures show the first.
            families: More recipes for Table 6, such as small_vgg small_rfcn.
            family_weights: Backbone weights (a file) for each of the families; default: --weights-backbone.
            sample_images: Number of training images measured for Figures 2 and 4.
            resamples: Number of bootstrap resamples (of validation images and seeds) for the confidence intervals.
        """
        if family_weights and len(family_weights) != len(families):
            numbers = f"{len(families)} and {len(family_weights)}"
            raise UserError(f"families and family-weights differ in number, {numbers}; give one file for each family")
        weights = family_weights or (recipe.weights_backbone,) * len(families)
        check_number("resamples", resamples, 1, whole=True)
        found = _study(names, recipe, seeds, dict(zip(families, weights, strict=True)), sample_images)
        if verb == "plan":
            _plan(found)
        else:
            _run(found, resamples)

    call(study, f"cascade-rcnn study {verb} WHAT... [--recipe NAME]", flags)


def _take_recipe(flags: list[str]) -> tuple[Recipe, list[str]]:
    """Return the recipe given by `--recipe`, with the paper's semantics and the study's output, and the other flags."""
    name, rest = "small", []
    words = iter(flags)
    for word in words:
        if word == "--recipe":
            name = next(words, "")
        elif word.startswith("--recipe="):
            name = word.partition("=")[2]
        else:
            rest.append(word)
    if name not in RECIPES:
        raise UsageError(f"there is no recipe '{name}'{nearest(name, list(RECIPES))}; known: {', '.join(RECIPES)}")
    recipe = RECIPES[name]()
    return replace(recipe, options=replace(recipe.options, semantics="paper"), output="runs/study"), rest


def _study(
    names: Sequence[str], recipe: Recipe, seeds: int, families: dict[str, str | None], sample_images: int
) -> "Study":
    from cascade_rcnn_study.artifacts import choose
    from cascade_rcnn_study.study import Study

    return Study(base=recipe, artifacts=choose(names), seeds=seeds, families=families, sample_images=sample_images)


def _plan(study: "Study") -> None:
    from cascade_rcnn_study.time_estimates import estimate_times

    found = estimate_times(study)
    for one in found:
        print(f"{one.run.folder.path.name:22} {one.state:18} {one.minutes:8.1f} min  {one.run.variant.title}")
    hours, devices = sum(one.minutes for one in found) / 60, study.base.devices
    at_once = f" in sequence, shared by {devices} devices" if devices > 1 else ""
    print(f"{count(len(found), 'run')}, {hours:.1f} hours on this machine{at_once}")


def _run(study: "Study", resamples: int) -> None:
    from cascade_rcnn_study.execution import run_study
    from cascade_rcnn_study.report import check_report

    check_report(study.folder.output)
    run_study(study)
    _render(study.folder.output, [artifact.name for artifact in study.artifacts], resamples)
