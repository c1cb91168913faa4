"""Recipes chosen for the data and the machine: `train auto`."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Unpack

import torch

from cascade_rcnn.api.recipes import RecipeOverrides, names_of
from cascade_rcnn.arguments import known_options
from cascade_rcnn.auto.rules import Choice, Machine, Start, choose
from cascade_rcnn.auto.survey import survey
from cascade_rcnn.config import Category, ModelConfig
from cascade_rcnn.data import Annotations
from cascade_rcnn.data.annotations import check_annotations
from cascade_rcnn.engine.training import processes
from cascade_rcnn.engine.training.settings import check_numbers
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import locate, read_config
from cascade_rcnn.models.configure import model_config
from cascade_rcnn.recipes import RECIPES, Recipe, with_changes
from cascade_rcnn.recipes.finetuning import finetune


@dataclass(frozen=True, kw_only=True)
class AutoRecipe:
    """Training settings chosen for a dataset; `print` shows each as a flag with the reason for it.

    >>> chosen = auto_recipe(load_annotations("shapes/train.json"), init="starter", epochs=3, accelerator="cpu")
    >>> chosen.recipe.batch_size, chosen.choices[0].why
    (4, 'given')
    """

    recipe: Recipe
    choices: tuple[Choice, ...]
    data: str  # one-line summary of the data
    warnings: tuple[str, ...]  # problems of the data

    def __str__(self) -> str:
        width = max(len(choice.flag) for choice in self.choices)
        lines = [f"  {choice.flag:{width}}  {choice.why}" for choice in self.choices]
        return "\n".join([f"auto: {self.data}", *lines, *(f"  {line}" for line in self.warnings)])


@known_options
def auto_recipe(annotations: Annotations, **overrides: Unpack[RecipeOverrides]) -> AutoRecipe:
    """Choose the initial model, image sizes, anchors, batch size, learning rate and epochs for data and machine.

    Settings given as keywords, as in `train`, are kept, and the others are chosen to match them. The initial model is
    the published cascade of recipe `finetune`, which is downloaded on first use; if that fails on a CPU, it is the
    starter. Raises UserError if there are no boxes to train on, or no initial model is available.

    >>> annotations = load_annotations("shapes/train.json")
    >>> auto_recipe(annotations, init="starter", accelerator="cpu").recipe.optimizer.lr
    0.0008
    """
    check_annotations(annotations)
    return by_data(with_changes(base(), overrides), names_of(overrides), annotations)


def base() -> Recipe:
    """Return the recipe that the rules start from."""
    return replace(finetune(), output="runs/auto")


def by_data(recipe: Recipe, given: Collection[str], annotations: Annotations) -> AutoRecipe:
    """Choose a recipe for the data; settings whose dotted names are in `given` are kept."""
    check_numbers(recipe)  # the rules divide by some of them
    data, machine = survey(annotations, recipe.data.repeat_rare), _machine(recipe)
    start = _start(recipe, given, machine, annotations.categories)
    chosen, choices = choose(recipe, given, data, machine, start)
    return AutoRecipe(recipe=chosen, choices=tuple(choices), data=str(data), warnings=tuple(data.warnings))


def _machine(recipe: Recipe) -> Machine:
    """Describe the machine by the total memory of its first GPU, as free memory differs between processes."""
    number = processes.of_the_run(recipe.devices)
    if recipe.accelerator in ("cpu", "mps") or not torch.cuda.is_available():
        return Machine(processes=number)
    return Machine(gpu_memory=torch.cuda.get_device_properties(0).total_memory / 2**30, processes=number)


def _start(recipe: Recipe, given: Collection[str], machine: Machine, categories: tuple[Category, ...]) -> Start:
    if "init" in given and recipe.init is not None:
        return _of(recipe.init, read_config(recipe.init), "given")
    if "init" in given or "model" in given or "weights_backbone" in given:
        config = model_config(recipe.model, categories, recipe.options, pretrained=recipe.weights_backbone is not None)
        return _of(None, config, f"{recipe.model} starts from backbone weights")
    name = finetune().init
    assert name is not None
    try:
        locate(name)
    except UserError as error:
        if machine.gpu_memory is not None:
            raise UserError(f"{error}; or start from another model with --init FILE") from None
        return _of(
            "starter",
            read_config("starter"),
            f"the small model for CPUs, as {name} is not available; --init NAME selects another",
        )
    return _of(name, read_config(name), "the strongest published cascade with a ResNet-50")


def _of(init: str | None, config: ModelConfig, why: str) -> Start:
    recipes = {name: make() for name, make in RECIPES.items()}
    like_starter = init is not None and _architecture(config) == _architecture(read_config("starter"))
    alike = "starter" if like_starter else init  # such as a model of an earlier run that started from it
    known = next((name for name, recipe in recipes.items() if alike is not None and recipe.init == alike), "finetune")
    sizes = config.preprocess.min_size
    return Start(
        why=why,
        init=init,
        min_size=None if sizes is None else sizes[-1],
        max_size=config.preprocess.max_size,
        anchors=config.rpn.anchors,
        known_as=known,
        optimizer=recipes[known].optimizer,
        batch_size=recipes[known].batch_size,
    )


def _architecture(config: ModelConfig) -> tuple[object, ...]:
    """Return what the learning rate depends on, which is the same whatever parts of the backbone are trained."""
    return type(config.backbone), getattr(config.backbone, "depth", None), config.pyramid
