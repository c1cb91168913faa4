"""This package: the cascade and its baseline from a backbone of ImageNet, and the default way, from the starter."""

from dataclasses import replace

import torch

import cascade_rcnn
from benchmarks.against.setting import BATCH, MAX_SIZE, MIN_SIZE, Contender, Detect, Setting, Tick
from cascade_rcnn.recipes import Recipe


class _Ticks(cascade_rcnn.Callback):
    def __init__(self, tick: Tick) -> None:
        self._tick = tick

    def on_step_end(self, step: cascade_rcnn.StepEnd) -> None:
        self._tick()


def from_recipe(name: str) -> Contender:
    """Train by a recipe of the package, one pass over the images that are given."""

    def contend(setting: Setting, tick: Tick) -> Detect:
        recipe = _sized(cascade_rcnn.find_recipe(name))
        if recipe.init is None:
            recipe = replace(recipe, weights_backbone=str(setting.weights))
        result = cascade_rcnn.train(
            replace(recipe, seed=setting.seed, output=str(setting.folder)),
            data=setting.images,
            callbacks=[_Ticks(tick)],
        )
        return _detect(cascade_rcnn.Predictor(result.weights, device="cpu", precision="bf16"))

    return contend


def _sized(recipe: Recipe) -> Recipe:
    options = replace(recipe.options, min_size=MIN_SIZE, max_size=MAX_SIZE)
    return replace(recipe, options=options, epochs=1, batch_size=BATCH, evaluate_every=0, workers=0, precision="bf16")


def _detect(predictor: cascade_rcnn.Predictor) -> Detect:
    def detect(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = predictor(image)
        boxes, scores = torch.from_numpy(found.xyxy), torch.from_numpy(found.confidence)
        return boxes, scores, torch.from_numpy(found.class_id) + 1

    return detect
