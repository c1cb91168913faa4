"""The models of a study, all derived from one recipe.

A variant is a training run without its seed. Tables and figures that need the same model share its variant by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.presets import preset_stages
from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn.models.architectures import has_sibling, sibling
from cascade_rcnn.recipes import RECIPES, OptimizerConfig, Recipe
from cascade_rcnn_study.evaluation_settings import (
    DEFAULT,
    ITERATIVE,
    WITH_TRUTH,
    EvaluationSetting,
    ensemble,
    on_cascade_inputs,
    single_stage,
    stage_on_inputs,
)

T = TypeVar("T")
QUALITIES = (0.5, 0.6, 0.7)  # U, section 5.1
# The cascades of Table 3: (with increasing IoU thresholds, with per-stage statistics). They are trained with SGD even
# if the base recipe uses another optimizer; if it uses SGD as well, its own `cascade` is the last of them.
BY_SGD = "cascade-sgd"
TABLE3 = {
    "cascade-plain": (False, False),
    "cascade-iou-up": (True, False),
    "cascade-stat": (False, True),
    BY_SGD: (True, True),
}

MASKS = {stages: f"masks-{stages}" for stages in (1, 2, 3, 4)}  # models with masks, by number of stages


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A model of the study. The first of its `settings` is the default evaluation."""

    name: str
    title: str
    recipe: Recipe
    settings: tuple[EvaluationSetting, ...]
    localization_steps: int = 0  # how often to apply the regressors for the localization curves; 0: no curves
    samples: bool = False  # whether figures show its training samples
    outputs: bool = False  # whether a figure shows what it detects in images


def variants(base: Recipe, families: Mapping[str, str | None] | None = None) -> dict[str, Variant]:
    """Derive the models of the study from one recipe, by name; a model precedes those that are evaluated on its boxes.

    `families` adds recipes by name for Table 6, each with its backbone weights. They keep their own options, but use
    the data, schedule and semantics of `base`.
    """
    if base.init is not None:
        raise UserError(f"init is {base.init}, but a study trains its models from backbone weights; give --init None")
    for name in ("stages", "stage_ious", "iterations", "test_stage", "ensemble", "ensemble_rois"):
        if (value := getattr(base.options, name)) != getattr(ModelOptions(), name):
            raise UserError(f"options.{name} is {value}, but the study sets it for each model; leave it out")
    found = [
        *_pair("", base),
        *(_single(base, stage) for stage in (2, 3)),
        _integral(base),
        *_table3_cascades(base),
        *(_cascade_of(base, stages) for stages in (2, 4)),
        *(_with_masks(base, stages) for stages in MASKS if has_sibling(base.model, "mask_rcnn")),
    ]
    for name, weights in (families or {}).items():
        if name not in RECIPES:
            raise UserError(
                f"families: there is no recipe '{name}'{nearest(name, list(RECIPES))}; give names of recipes"
            )
        own = RECIPES[name]()
        options = replace(own.options, semantics=base.options.semantics)
        found += _pair(f"{name}-", replace(base, model=own.model, options=options, weights_backbone=weights))
    return {variant.name: variant for variant in found}


def family_of(variant: str) -> str:
    """Return the recipe that prefixes a variant's name; empty for variants of the base recipe."""
    return variant.rpartition("-")[0] if variant.endswith(("-cascade", "-baseline")) else ""


def _pair(prefix: str, base: Recipe) -> list[Variant]:
    """Return a cascade and its baseline; those of the base recipe (no prefix) include what the figures need."""
    table = (ensemble(3), single_stage(1), single_stage(2), single_stage(3), ensemble(2))
    figure6 = tuple(stage_on_inputs(t, s) for t in (1, 2, 3) for s in (1, 2, 3) if t != s)
    full = not prefix
    cascade = Variant(
        name=f"{prefix}cascade",
        title=f"{prefix}cascade, U = {{.5, .6, .7}}",
        recipe=_with_model(base, "cascade_rcnn", _stage_options(base.options, 3)),
        settings=(*table, *figure6) if full else table[:1],
        localization_steps=3 if full else 0,
        samples=full,
    )
    baseline = Variant(
        name=f"{prefix}baseline",
        title=f"{prefix}baseline, one stage, u = .5",
        recipe=_with_model(base, "faster_rcnn", _stage_options(base.options, 1)),
        settings=(DEFAULT, ITERATIVE, WITH_TRUTH) if full else (DEFAULT,),
        localization_steps=3 if full else 0,
        outputs=full,
    )
    return [cascade, baseline]


def _single(base: Recipe, stage: int) -> Variant:
    """Return a detector of one stage, trained with the IoU threshold of the cascade's stage `stage`."""
    u = QUALITIES[stage - 1]
    options = replace(_stage_options(base.options, 1), stage_ious=(u,))
    return Variant(
        name=f"baseline-{round(100 * u)}",
        title=f"one stage, u = {u:.1f}",
        recipe=_with_model(base, "faster_rcnn", options),
        settings=(DEFAULT, WITH_TRUTH, on_cascade_inputs(stage)),
        localization_steps=1,
        outputs=True,
    )


def _integral(base: Recipe) -> Variant:
    ious = _stage_options(base.options, 3).stage_ious
    options = replace(_stage_options(base.options, 1), stages=None, stage_ious=ious)
    return Variant(
        name="integral",
        title="integral loss, U = {.5, .6, .7}",
        recipe=_with_model(base, "integral_loss", options),
        settings=(DEFAULT, *(replace(single_stage(k), figure="figure7") for k in (1, 2, 3))),
    )


def _table3_cascades(base: Recipe) -> list[Variant]:
    words = {True: "with", False: "without"}
    return [
        Variant(
            name=name,
            title=f"cascade {words[up]} increasing IoU, {words[stat]} statistics by stage, SGD",
            recipe=_with_model(
                _by_sgd(base), "cascade_rcnn", _stage_options(base.options, 3, iou_up=up, statistics=stat)
            ),
            settings=(ensemble(3),),
        )
        for name, (up, stat) in TABLE3.items()
        if name != BY_SGD or base.optimizer.name != "sgd"
    ]


def _cascade_of(base: Recipe, stages: int) -> Variant:
    """Return a cascade with another number of stages, for Table 4."""
    return Variant(
        name=f"cascade-{stages}",
        title=f"cascade of {stages} stages",
        recipe=_with_model(base, "cascade_rcnn", _stage_options(base.options, stages)),
        settings=(ensemble(2),) if stages == 2 else (ensemble(4), ensemble(3)),
    )


def _with_masks(base: Recipe, stages: int) -> Variant:
    """Return a Mask R-CNN of one stage, or its cascade."""
    method, title = ("cascade_mask_rcnn", f"cascade of {stages} stages") if stages > 1 else ("mask_rcnn", "one stage")
    return Variant(
        name=MASKS[stages],
        title=f"{title}, with masks",
        recipe=_with_model(base, method, _stage_options(base.options, stages)),
        settings=(ensemble(stages),),
    )


def _by_sgd(base: Recipe) -> Recipe:
    """Train with SGD: statistics rescale a loss, and the steps of AdamW do not depend on a loss's scale."""
    own = base.optimizer
    if own.name == "sgd":
        return base
    kept = {name: getattr(own, name) for name in ("warmup_steps", "warmup_factor", "schedule", "drops")}
    sgd = replace(OptimizerConfig(), **kept)
    return replace(base, optimizer=sgd)


def _with_model(base: Recipe, method: str, options: ModelOptions) -> Recipe:
    return replace(base, model=sibling(base.model, method), options=options)


def _stage_options(options: ModelOptions, number: int, *, iou_up: bool = True, statistics: bool = True) -> ModelOptions:
    """Set the options of `number` stages explicitly; statistics given in `options` replace the preset's first ones.

    Without `iou_up`, all stages use the first one's IoU threshold; without `statistics`, its mean and std (Table 3).
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
