"""One run of a contestant: initial weights, images, optimizer, and the detections afterwards."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.against.setting import read_set, stream
from benchmarks.presets.contestants import DEFAULT, contestant, preset_config, untrained
from cascade_rcnn import OptimizerConfig, Predictor, Recipe, evaluate, find_recipe, load, save, train
from cascade_rcnn.config import ModelConfig
from cascade_rcnn.data import Annotations
from cascade_rcnn.engine.predictor import Precision
from cascade_rcnn.engine.training.state import holds_state
from cascade_rcnn.files import write_json
from cascade_rcnn.models.build import build
from cascade_rcnn.models.detector import Detector

BATCH = 2
MODEL_FILE = "model.safetensors"  # in the folder of a finished run
METRICS = ("ap", "ap50", "ap75", "ap90")


def start(config: ModelConfig, seed: int) -> Detector:
    """Return a detector with the backbone and pyramid of the starter, and random weights elsewhere.

    Parameters that contestants have in common start with the same numbers, those of the default's network.
    """
    torch.manual_seed(seed)
    model = build(config)
    torch.manual_seed(seed)
    shared = build(preset_config(DEFAULT, config.categories)).state_dict() | _starter()
    own = model.state_dict()  # shares the model's memory
    for name, value in shared.items():
        if name in own and own[name].shape == value.shape:
            own[name].copy_(value)
    return model


def _starter() -> dict[str, torch.Tensor]:
    weights = load("starter").state_dict()
    return {name: value for name, value in weights.items() if name.startswith(("backbone.", "pyramid."))}


def optimizer_config(name: str, rate: float, warmup: int) -> OptimizerConfig:
    """Return SGD, or AdamW as in the recipe `quickstart`, with a cosine schedule after `warmup` updates."""
    if name == "adamw":
        config = find_recipe("quickstart").optimizer
        return replace(config, lr=rate, lr_batch=BATCH, warmup_steps=warmup)
    return OptimizerConfig(name="sgd", lr=rate, lr_batch=BATCH, warmup_steps=warmup, schedule="cosine")


def run(
    data: Path,
    output: Path,
    name: str,
    contender: str,
    *,
    images: int,
    optimizer: OptimizerConfig,
    precision: Precision,
    seed: int,
) -> dict[str, Any]:
    """Train on `images` images of the dataset, in turn, and write the detections and metrics to `output`.

    An interrupted run continues from its last saved update. For a contender that differs from the default at inference
    only, the default's weights are evaluated.
    """
    torch.set_num_threads(1)
    train_set, val = read_set(data, name)
    config = contestant(contender, train_set.categories)
    identity = key(name, contender, optimizer.name, optimizer.lr, seed)
    folder, weights = output / identity, output / identity / MODEL_FILE
    folder.mkdir(parents=True, exist_ok=True)
    if untrained(contender):
        base = key(name, DEFAULT, optimizer.name, optimizer.lr, seed)
        save(_with_config(load(output / base / MODEL_FILE), config), weights)
    elif not weights.is_file():
        recipe = _recipe(folder, optimizer, precision, seed)
        save(_trained(config, train_set, folder, images, recipe), weights)
    predictor = Predictor(weights, device="cpu", precision=precision)
    metrics = evaluate(predictor, val, workers=0, save_detections=folder / "found.json").to_dict()
    figures: dict[str, Any] = {"set": name, "contender": contender, "optimizer": optimizer.name}
    figures |= {"rate": optimizer.lr, "seed": seed, "images": images}
    figures |= {metric: metrics[metric] for metric in METRICS}
    write_json(output / f"{identity}.json", figures)
    return figures


def _recipe(folder: Path, optimizer: OptimizerConfig, precision: Precision, seed: int) -> Recipe:
    return Recipe(
        init=str(folder / "start.safetensors"),
        optimizer=optimizer,
        epochs=1, batch_size=BATCH, evaluate_every=0, save_every=40, workers=0, precision=precision, accelerator="cpu",
        seed=seed, output=str(folder / "training"),
    )  # fmt: skip


def _trained(config: ModelConfig, train_set: Annotations, folder: Path, images: int, recipe: Recipe) -> Detector:
    """Train to the end of the schedule and return the detector."""
    begun = holds_state(folder / "training")
    if not begun:
        save(start(config, recipe.seed), folder / "start.safetensors")
    shutil.rmtree(folder / "links", ignore_errors=True)
    return train(recipe, data=stream(train_set, images, recipe.seed, folder / "links"), resume=begun).model


def _with_config(model: Detector, config: ModelConfig) -> Detector:
    changed = build(config)
    changed.load_state_dict(model.state_dict())
    return changed


def key(name: str, contender: str, optimizer: str, rate: float, seed: int) -> str:
    """Return the name of a run's folder."""
    return f"{name}-{contender}-{optimizer}-{1000 * rate:g}-{seed}".replace(" ", "_").replace(":", "+")
