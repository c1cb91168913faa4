"""This package: the cascade and its baseline from an ImageNet backbone, and the default recipe, from the starter."""

from dataclasses import replace

import torch

import cascade_rcnn
from benchmarks.against.setting import BATCH, Contender, Detect, Setting, Tick
from cascade_rcnn.recipes import Recipe


class _Ticks(cascade_rcnn.Callback):
    def __init__(self, tick: Tick) -> None:
        self._tick = tick

    def on_step_end(self, step: cascade_rcnn.StepEnd) -> None:
        self._tick()


def from_recipe(name: str) -> Contender:
    """Train with a recipe of the package, in one pass over the given images."""
    return _contender(cascade_rcnn.find_recipe(name))


def from_backbone(name: str) -> Contender:
    """Train a recipe's model from the backbone with the optimizer of `quickstart`, which is made for short runs."""
    recipe, quick = cascade_rcnn.find_recipe(name), cascade_rcnn.find_recipe("quickstart")
    return _contender(replace(recipe, optimizer=quick.optimizer, ema=quick.ema))


def _contender(recipe: Recipe) -> Contender:
    def contend(setting: Setting, tick: Tick) -> Detect:
        weights = None if recipe.init else str(setting.weights)
        chosen = replace(
            _sized(recipe, setting.sides), weights_backbone=weights, seed=setting.seed, precision=setting.precision,
            output=str(setting.folder),
        )  # fmt: skip
        result = cascade_rcnn.train(chosen, data=setting.images, callbacks=[_Ticks(tick)])
        return _detect(cascade_rcnn.Predictor(result.weights, device="cpu", precision=setting.precision))

    return contend


def _sized(recipe: Recipe, sides: tuple[int, int]) -> Recipe:
    options = replace(recipe.options, min_size=sides[0], max_size=sides[1])
    return replace(recipe, options=options, epochs=1, batch_size=BATCH, evaluate_every=0, workers=0)


def _detect(predictor: cascade_rcnn.Predictor) -> Detect:
    def detect(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = predictor(image, threshold=0.0)  # the model's own, as in the other contenders
        boxes, scores = torch.from_numpy(found.xyxy), torch.from_numpy(found.confidence)
        return boxes, scores, torch.from_numpy(found.class_id) + 1

    return detect
