"""A training in progress: what the loop works on, and how it is saved and restored.

Files of the output folder: recipe.json, last.safetensors and best.safetensors (models), best.json (figures),
last.state.pt (all that resuming needs, in one file, so that it is never half new).
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel

from cascade_rcnn.data import Annotations
from cascade_rcnn.data.loader import DetectionLoader
from cascade_rcnn.engine import checkpoint, optim
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import Metrics
from cascade_rcnn.files import write_json
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.recipes import Recipe

STATE = "last.state.pt"


@dataclass
class Position:
    """Where a training stands."""

    epoch: int = 0
    batch: int = 0  # this rank's batches done in the epoch
    step: int = 0  # updates done
    best_ap: float = -1.0
    seconds: float = 0.0  # spent training, evaluation left out
    images: int = 0  # trained on, over all ranks


@dataclass
class Run:
    """What the loop works on."""

    recipe: Recipe
    fabric: Fabric
    model: Detector
    wrapped: nn.Module  # the model as it must be called: with autocast, under DDP
    optimizer: torch.optim.Optimizer
    averaged: AveragedModel | None
    loader: DetectionLoader
    train_set: Annotations
    val: Annotations | None
    position: Position = field(default_factory=Position)

    @property
    def output(self) -> Path:
        """The folder for everything."""
        return Path(self.recipe.output)

    @property
    def evaluated(self) -> Detector:
        """The model that is evaluated and kept: the averaged one where there is one."""
        return self.model if self.averaged is None else cast(Detector, self.averaged.module)

    @property
    def total_steps(self) -> int:
        """Updates in the whole training."""
        return math.ceil(len(self.loader) / self.recipe.accumulate) * self.recipe.epochs

    @property
    def images_per_step(self) -> int:
        """Images in an update, over all ranks."""
        return self.recipe.batch_size * self.recipe.accumulate * self.fabric.world_size

    def save_models(self, metrics: Metrics | None) -> None:
        """The last model, and the best with its figures if `metrics` (of this epoch) are better than before."""
        better = metrics is not None and metrics.ap > self.position.best_ap
        if metrics is not None and better:
            self.position.best_ap = metrics.ap
        if self.fabric.is_global_zero:
            checkpoint.save(self.evaluated, self.output / "last.safetensors")
            if metrics is not None and better:
                checkpoint.save(self.evaluated, self.output / "best.safetensors")
                write_json(self.output / "best.json", {"epoch": self.position.epoch, **metrics.to_dict()})

    def save_state(self) -> None:
        """Everything that an uninterrupted training would have had at this point. All ranks must call it."""
        random = _random_state()
        everyone = [random] * self.fabric.world_size
        if self.fabric.world_size > 1:
            dist.all_gather_object(everyone, random)
        if self.fabric.is_global_zero:
            state: dict[str, Any] = {
                "model": self.model.state_dict(),
                "averaged": None if self.averaged is None else self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "position": asdict(self.position),
                "random": everyone,
            }
            checkpoint.save_state(self.output / STATE, state)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was saved. Raises UserError if it was saved by another number of processes."""
        everyone = state["random"]
        if len(everyone) != self.fabric.world_size:
            raise UserError(
                f"{self.output}: was trained by {len(everyone)} processes; resume --devices {len(everyone)}"
            )
        self.model.load_state_dict(state["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        optim.match_layout(self.optimizer)
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.position = Position(**state["position"])
        _set_random_state(everyone[self.fabric.global_rank])


def _random_state() -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else state


def _set_random_state(state: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
