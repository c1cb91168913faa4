"""Which trainings the paper's tables and figures need, and what is measured of each. Data only: nothing runs here.

A variant is a training up to its seed; tables and figures that need the same one share it by its name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.presets import preset_stages
from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn.models.architectures import sibling
from cascade_rcnn.recipes import RECIPES, Optimizer, Recipe

T = TypeVar("T")
QUALITIES = (0.5, 0.6, 0.7)  # U, section 5.1
LOCALIZATION = {"figure1", "figure7"}  # the tables and figures that show it
SAMPLES = {"figure2", "figure4"}
SPEED = {"table6"}
# Table 3's cascades: with increasing IoU, with statistics by stage. They are trained by SGD, whatever the base is; the
# last is the base's own `cascade` where that is by SGD, too.
BY_SGD = "cascade-sgd"
TABLE3 = {
    "cascade-plain": (False, False),
    "cascade-iou-up": (True, False),
    "cascade-stat": (False, True),
    BY_SGD: (True, True),
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way of testing a checkpoint. `inputs` s: the boxes that enter stage s of the cascade, 1: the RPN's."""

    name: str
    inference: Mapping[str, Any] = field(default_factory=dict)  # as `cascade_rcnn.load` takes it
    inputs: int = 1
    first: int = 1  # the stage at which they enter this model
    of_cascade: bool = False  # the boxes are those of the run `cascade` of the same seed, not the model's own
    with_truth: bool = False  # the ground truth is added to them
    figure: str | None = None  # the one figure that asks for it; None: tables do


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A model of the study. The first of `settings` is how it is tested by default."""

    name: str
    title: str
    recipe: Recipe
    settings: tuple[Setting, ...]
    localization_steps: int = 0  # for LOCALIZATION: apply the regressors this often; 0: not measured
    samples: bool = False  # for SAMPLES: look at the training samples


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A table or figure: the variants it is made of."""

    name: str
    title: str
    variants: tuple[str, ...]
    every_seed: bool  # tables: statistics over the seeds; figures show the first


ARTIFACTS: dict[str, Artifact] = {
    name: Artifact(name=name, title=title, variants=variants, every_seed=name.startswith("table"))
    for name, title, variants in (
        ("table1", "Comparison with iterative BBox and integral loss", ("baseline", "integral", "cascade")),
        ("table2", "Stage performance of the cascade", ("baseline", "cascade")),
        (
            "table3",
            "Increasing IoU thresholds, regression statistics",
            tuple(TABLE3),
        ),
        ("table4", "Number of stages", ("baseline", "cascade-2", "cascade", "cascade-4")),
        ("table5", "Comparison with the state of the art (published rows)", ()),
        ("table6", "Baseline detectors with and without cascade", ("baseline", "cascade")),
        ("figure1", "Localization and detection by IoU threshold", ("baseline", "baseline-60", "baseline-70")),
        ("figure2", "Distribution of the regression targets by stage", ("cascade",)),
        ("figure4", "IoU of the training samples by stage", ("cascade",)),
        ("figure5", "Detectors on other proposals", ("cascade", "baseline", "baseline-60", "baseline-70")),
        ("figure6", "Every stage's detector on every stage's proposals", ("cascade",)),
        ("figure7", "Iterative BBox and integral loss, looked into", ("baseline", "cascade", "integral")),
    )
}


def needed(artifact: Artifact, known: Mapping[str, Variant]) -> tuple[str, ...]:
    """The artifact's variants as a study has them, which knows `known`."""
    return tuple("cascade" if name == BY_SGD and name not in known else name for name in artifact.variants)


def family_of(variant: str) -> str:
    """The recipe that a variant's name begins with; empty: the study's base."""
    return variant.rpartition("-")[0] if variant.endswith(("-cascade", "-baseline")) else ""


def choose(names: Iterable[str]) -> list[Artifact]:
    """Tables and figures by name; `all` is every one. Raises UserError for a name that is none."""
    names = list(names)
    if not names:
        raise UserError(f"say what to run: {', '.join(ARTIFACTS)}, or all")
    for name in names:
        if name != "all" and name not in ARTIFACTS:
            raise UserError(f"no table or figure is called '{name}'{nearest(name, list(ARTIFACTS))}; see `study list`")
    return [artifact for name, artifact in ARTIFACTS.items() if name in names or "all" in names]


def ensemble(stage: int) -> Setting:
    """Table 2's 1~t: the average of t classifiers, all on the boxes that enter stage t."""
    return Setting(name=f"stages1-{stage}", inference={"test_stage": stage, "ensemble": True, "ensemble_rois": "last"})


def alone(stage: int) -> Setting:
    """One stage (or classifier of the integral loss) by itself."""
    return Setting(name=f"stage{stage}", inference={"test_stage": stage, "ensemble": False})


DEFAULT = Setting(name="default")
ITERATIVE = Setting(name="iterations3", inference={"iterations": 3})
WITH_TRUTH = Setting(name="with-truth", with_truth=True, figure="figure5")


def crossed(detector: int, inputs: int) -> Setting:
    """Figure 6: the detector of one stage on the boxes that enter another."""
    if detector == inputs:
        return alone(detector)
    return Setting(
        name=f"stage{detector}-on-inputs{inputs}",
        inference=alone(detector).inference,
        inputs=inputs,
        first=detector,
        figure="figure6",
    )


def on_cascade(inputs: int) -> Setting:
    """Figure 5 (a), dashed: on the boxes that enter a stage of the cascade."""
    return Setting(name=f"on-cascade-inputs{inputs}", inputs=inputs, of_cascade=True, figure="figure5")


def variants(base: Recipe, families: Mapping[str, str | None] | None = None) -> dict[str, Variant]:
    """The study's models, by name, all derived from one recipe. Order: what others' measurements need comes first.

    `families` (Table 6): further recipes by name, with their backbones' weights; data, schedule and semantics are the
    base's.
    """
    if base.init is not None:
        raise UserError(f"init is {base.init}: the study trains models by name; leave --init out")
    for name in ("stages", "stage_ious", "iterations", "test_stage"):
        if (value := getattr(base.options, name)) is not None:
            raise UserError(f"options.{name} is {value}: the study sets that for each model itself; leave it out")
    found = [*_pair("", base), *_singles(base), *_cascades(base)]
    for name, weights in (families or {}).items():
        if name not in RECIPES:
            raise UserError(f"no recipe is called '{name}'{nearest(name, list(RECIPES))}; --families takes recipes")
        own = RECIPES[name]()
        options = replace(own.options, semantics=base.options.semantics)
        found += _pair(f"{name}-", replace(base, model=own.model, options=options, weights_backbone=weights))
    return {variant.name: variant for variant in found}


def _pair(prefix: str, base: Recipe) -> list[Variant]:
    """A cascade and its baseline; of the base recipe (no prefix) with all that figures ask of them."""
    table = (ensemble(3), alone(1), alone(2), alone(3), ensemble(2))
    figure6 = tuple(crossed(t, s) for t in (1, 2, 3) for s in (1, 2, 3) if t != s)
    full = not prefix
    cascade = Variant(
        name=f"{prefix}cascade",
        title=f"{prefix}cascade, U = {{.5, .6, .7}}",
        recipe=_with_model(base, "cascade_rcnn", _cascade(base.options, 3)),
        settings=(*table, *figure6) if full else table[:1],
        localization_steps=3 if full else 0,
        samples=full,
    )
    baseline = Variant(
        name=f"{prefix}baseline",
        title=f"{prefix}baseline, one stage, u = .5",
        recipe=_with_model(base, "faster_rcnn", _cascade(base.options, 1)),
        settings=(DEFAULT, ITERATIVE, WITH_TRUTH) if full else (DEFAULT,),
        localization_steps=3 if full else 0,
    )
    return [cascade, baseline]


def _singles(base: Recipe) -> list[Variant]:
    """Detectors of one head: trained for u = .6 and .7, and for all at once by the integral loss."""
    found = []
    for stage, u in enumerate(QUALITIES[1:], start=2):
        options = replace(_cascade(base.options, 1), stage_ious=(u,))
        found.append(
            Variant(
                name=f"baseline-{round(100 * u)}",
                title=f"one stage, u = {u:.1f}",
                recipe=_with_model(base, "faster_rcnn", options),
                settings=(DEFAULT, WITH_TRUTH, on_cascade(stage)),
                localization_steps=1,
            )
        )
    ious = _cascade(base.options, 3).stage_ious
    integral = Variant(
        name="integral",
        title="integral loss, U = {.5, .6, .7}",
        recipe=_with_model(base, "integral_loss", replace(_cascade(base.options, 1), stages=None, stage_ious=ious)),
        settings=(DEFAULT, *(replace(alone(k), figure="figure7") for k in (1, 2, 3))),
    )
    return [*found, integral]


def _cascades(base: Recipe) -> list[Variant]:
    """The ablations of section 5.4."""
    words = {True: "with", False: "without"}
    found = [
        Variant(
            name=name,
            title=f"cascade {words[up]} increasing IoU, {words[stat]} statistics by stage, SGD",
            recipe=_with_model(_by_sgd(base), "cascade_rcnn", _cascade(base.options, 3, iou_up=up, statistics=stat)),
            settings=(ensemble(3),),
        )
        for name, (up, stat) in TABLE3.items()
        if name != BY_SGD or base.optimizer.name != "sgd"
    ]
    for number in (2, 4):
        settings = (ensemble(2),) if number == 2 else (ensemble(4), ensemble(3))
        found.append(
            Variant(
                name=f"cascade-{number}",
                title=f"cascade of {number} stages",
                recipe=_with_model(base, "cascade_rcnn", _cascade(base.options, number)),
                settings=settings,
            )
        )
    return found


def _by_sgd(base: Recipe) -> Recipe:
    """Statistics change the scale of a loss, and AdamW's steps do not depend on that: it would hide what they do."""
    own = base.optimizer
    if own.name == "sgd":
        return base
    sgd = replace(Optimizer(), warmup_steps=own.warmup_steps, schedule=own.schedule, drops=own.drops)
    return replace(base, optimizer=sgd)


def _with_model(base: Recipe, method: str, options: ModelOptions) -> Recipe:
    return replace(base, model=sibling(base.model, method), options=options)


def _cascade(options: ModelOptions, number: int, *, iou_up: bool = True, statistics: bool = True) -> ModelOptions:
    """Options for so many stages; where the base has statistics of its own, the first stages take them.

    Without `iou_up` every stage has the first's u, without `statistics` the first's mean and deviation (Table 3).
    """
    preset = preset_stages(options.semantics, 4)
    ious = [stage.iou for stage in preset]
    stds = _extended(options.stage_stds, [stage.std for stage in preset])
    means = _extended(options.stage_means, [stage.mean for stage in preset])
    rows = range(number)
    return replace(
        options,
        stages=number,
        stage_ious=tuple(ious[t if iou_up else 0] for t in rows),
        stage_stds=tuple(stds[t if statistics else 0] for t in rows),
        stage_means=tuple(means[t if statistics else 0] for t in rows),
        iterations=None,
        test_stage=None,
        ensemble=True,
        ensemble_rois=None,
    )


def _extended(given: Sequence[T] | None, preset: Sequence[T]) -> list[T]:
    given = given or ()
    return [*given, *preset[len(given) :]]
