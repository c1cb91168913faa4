"""`cascade-rcnn study list | plan | run | render`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cascade_rcnn.errors import UsageError, UserError, nearest
from cascade_rcnn.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from cascade_rcnn.studies.experiments import Study

_USAGE = """usage: cascade-rcnn study COMMAND ...

commands:
  list                 the tables and figures, and the trainings that each needs
  plan WHAT... FLAGS   what would be run and for how long, from a short trial of each model
  run WHAT... FLAGS    train and measure what is missing, then write the report
  render --output DIR  write the report from the runs that are there, without data

WHAT: names of the list, or all. FLAGS: --data.train ANNOTATIONS --data.val ANNOTATIONS [--seeds 3] [--output DIR]
[--recipe NAME, default small; its own flags, such as --epochs, as of `cascade-rcnn train NAME --help`]"""


def main(arguments: Sequence[str]) -> None:
    """Run a sub-command. Raises UserError for a mistake, `Interrupted` where the user stopped it."""
    verb, rest = (arguments[0], list(arguments[1:])) if arguments else ("--help", [])
    if verb in ("-h", "--help"):
        print(_USAGE)
    elif verb == "list":
        _list()
    elif verb in ("plan", "run"):
        _with_study(verb, rest)
    elif verb == "render":
        tyro.cli(render, prog="cascade-rcnn study render", args=rest)
    else:
        known = ("list", "plan", "run", "render")
        raise UsageError(f"study has no command '{verb}'{nearest(verb, list(known))}; it has {', '.join(known)}")


def _list() -> None:
    from cascade_rcnn.studies.runs import ARTIFACTS, variants

    titles = {name: variant.title for name, variant in variants(RECIPES["small"]()).items()}
    for artifact in ARTIFACTS.values():
        print(f"{artifact.name:9} {artifact.title}")
        print(f"          {'; '.join(titles[name] for name in artifact.variants) or 'nothing to train'}")


def render(*, output: Path, resamples: int = 500) -> None:
    """Write OUTPUT/report from OUTPUT/runs; what is not there is marked as missing.

    Args:
        output: The study's folder.
        resamples: Of the validation images, for the intervals of differences.
    """
    from cascade_rcnn.studies.report import render as write
    from cascade_rcnn.studies.runs import ARTIFACTS

    _check_resamples(resamples)
    print(f"report: {write(output, ARTIFACTS, resamples)}")


def _check_resamples(number: int) -> None:
    if number < 1:
        raise UserError(f"resamples is {number}; give 1 or more")


def _with_study(verb: str, arguments: list[str]) -> None:
    number = next((k for k, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    what, flags = arguments[:number], arguments[number:]
    default, flags = _base(flags)

    def study(
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = default,
        *,
        seeds: int = 1,
        families: tuple[str, ...] = (),
        family_weights: tuple[str, ...] = (),
        sample_images: int = 300,
        resamples: int = 500,
    ) -> None:
        """Every table and figure of the paper on your data.

        Args:
            recipe: The training that all models of the study share.
            seeds: Trainings of each model that a table compares; figures show the first.
            families: Further recipes for Table 6, such as small_vgg small_rfcn.
            family_weights: Backbone weights of each of these (a file); default: as --weights-backbone.
            sample_images: Training images that Figures 2 and 4 look at.
            resamples: Of the validation images, for the intervals of differences.
        """
        if family_weights and len(family_weights) != len(families):
            raise UserError(f"{len(families)} families, but {len(family_weights)} family-weights; give one each")
        weights = family_weights or (recipe.weights_backbone,) * len(families)
        _go(verb, what, recipe, seeds, dict(zip(families, weights, strict=True)), sample_images, resamples)

    tyro.cli(study, prog=f"cascade-rcnn study {verb} WHAT... [--recipe NAME]", args=flags)


def _base(flags: list[str]) -> tuple[Recipe, list[str]]:
    """The recipe that `--recipe` names, with the paper's semantics and the study's own folder, and the other flags."""
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
        raise UsageError(f"no recipe is called '{name}'{nearest(name, list(RECIPES))}; known: {', '.join(RECIPES)}")
    recipe = RECIPES[name]()
    return replace(recipe, options=replace(recipe.options, semantics="paper"), output="runs/study"), rest


def _go(
    verb: str,
    what: Sequence[str],
    recipe: Recipe,
    seeds: int,
    families: dict[str, str | None],
    sample_images: int,
    resamples: int,
) -> None:
    from cascade_rcnn.studies.experiments import Study, run
    from cascade_rcnn.studies.runs import choose

    _check_resamples(resamples)
    artifacts = choose(what)
    study = Study(base=recipe, artifacts=artifacts, seeds=seeds, families=families, sample_images=sample_images)
    if verb == "plan":
        _print_plan(study)
        return
    from cascade_rcnn.studies.report import render as write

    run(study)
    print(f"report: {write(study.store.output, [a.name for a in artifacts], resamples)}")


def _print_plan(study: "Study") -> None:
    from cascade_rcnn.studies.plan import plan

    found = plan(study)
    for one in found:
        print(f"{one.task.run.path.name:22} {one.state:18} {one.minutes:8.1f} min  {one.task.variant.title}")
    total = sum(one.minutes for one in found)
    print(f"{len(found)} runs, {total / 60:.1f} hours on this machine")
