"""The training state on which the loop works, and how it is saved and restored.

Files in the output folder: recipe.json, last.safetensors and best.safetensors (models), best.json (metrics),
best.detections.json (on the validation data), last.state.pt (everything needed for resuming, in one file for
consistency) and its predecessor, previous.state.pt. The state is written after the other files, so that an interrupted
step is not recorded as done, and is repeated.
"""

import math
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel

from cascade_rcnn.data.loader import DetectionLoader
from cascade_rcnn.engine import checkpoint
from cascade_rcnn.engine.training.collectives import gather
from cascade_rcnn.engine.training.data import TrainingData
from cascade_rcnn.engine.training.fingerprint import Fingerprint
from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.evaluation import Metrics, save_detections
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.files import write_json
from cascade_rcnn.layers.normalization import keep_local
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.recipes import Recipe
from cascade_rcnn.tensor_files import DAMAGED

STATE, PREVIOUS = "last.state.pt", "previous.state.pt"
DETECTIONS = "best.detections.json"
# What a run writes and replaces, after recipe.json.
FILES = (
    *("last.safetensors", "best.safetensors", "best.json", DETECTIONS, STATE, PREVIOUS),
    *("train.csv", "evaluation.csv", "results.json", "curve.png"),
)
_PARTS = frozenset({"model", "averaged", "optimizer", "precision", "position", "random", "data"})


@dataclass
class Position:
    """The progress of a training run."""

    epoch: int = 0
    batch: int = 0  # this rank's batches done in the epoch
    step: int = 0  # updates done
    evaluated: int = 0  # updates done at the last evaluation, whose files are all written
    best_ap: float = -1.0
    stale: int = 0  # evaluations since the best one
    seconds: float = 0.0  # spent training, without evaluation
    images: int = 0  # trained on, over all ranks


@dataclass(kw_only=True)
class TrainingState:
    """The model, optimizer, data and progress of a training run."""

    recipe: Recipe
    fabric: Fabric
    model: Detector
    wrapped: nn.Module  # the model to call: with autocast, under DDP
    optimizer: torch.optim.Optimizer
    averaged: AveragedModel | None
    loader: DetectionLoader
    data: TrainingData
    fingerprint: Fingerprint  # of the data
    position: Position = field(default_factory=Position)

    @property
    def output(self) -> Path:
        """The output folder."""
        return Path(self.recipe.output)

    @property
    def evaluated(self) -> Detector:
        """The model to evaluate and save: the averaged one if there is one."""
        return self.model if self.averaged is None else cast(Detector, self.averaged.module)

    @property
    def total_steps(self) -> int:
        """The number of updates in the whole run."""
        return math.ceil(len(self.loader) / self.recipe.accumulate) * self.recipe.epochs

    @property
    def images_per_step(self) -> int:
        """The number of images per update, over all ranks; an update ends with its epoch."""
        return self.recipe.batch_size * min(self.recipe.accumulate, len(self.loader)) * self.fabric.world_size

    def copy_of_model(self) -> Detector:
        """Return a copy of the model that this process can train alone, in training mode."""
        return keep_local(deepcopy(self.model)).train()

    def save_last(self) -> None:
        """Save the current model as last.safetensors."""
        if self.fabric.is_global_zero:
            checkpoint.save(self.evaluated, self.output / "last.safetensors")

    def save_best(self, metrics: Metrics, found: Detected) -> None:
        """Save the current model, its metrics and its detections if its AP is the best so far."""
        if not metrics.ap > self.position.best_ap:
            self.position.stale += 1
            return
        self.position.best_ap, self.position.stale = metrics.ap, 0
        if self.fabric.is_global_zero:
            checkpoint.save(self.evaluated, self.output / "best.safetensors")
            assert self.data.val is not None  # it has been evaluated
            save_detections(self.output / DETECTIONS, found.rows, self.data.val.annotations, found.masks)
            write_json(self.output / "best.json", {"epoch": self.position.epoch, **metrics.to_dict()})

    def save(self) -> None:
        """Save everything needed to continue as if uninterrupted. All ranks must call it."""
        everyone = gather(self.fabric, random_state())
        if self.fabric.is_global_zero:
            state: dict[str, Any] = {
                "model": self.model.state_dict(),
                "averaged": None if self.averaged is None else self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "position": asdict(self.position),
                "random": everyone,
                "data": self.fingerprint,
            }
            checkpoint.save_state(self.output / STATE, state, backup=self.output / PREVIOUS)
        self.fabric.barrier()  # no process exits before the file is written

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state. Raises UserError if it does not belong to this run."""
        try:
            everyone = state["random"]
            if len(everyone) != self.fabric.world_size:
                raise UserError(
                    f"{self.output}: was trained by {len(everyone)} processes; resume with --devices {len(everyone)}"
                )
            self.model.load_state_dict(state["model"])
            if self.averaged is not None:
                self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            self.position = Position(**state["position"])
            set_random_state(everyone[self.fabric.global_rank])
        except UserError:
            raise
        except DAMAGED as error:
            raise UserError(
                f"{self.output / STATE}: does not match this run ({reason(error)}); start a new run in another --output"
            ) from None


def holds_state(output: Path) -> bool:
    """Return whether the folder contains a run that can be resumed."""
    return (output / STATE).exists() or (output / PREVIOUS).exists()


def read_state(output: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the newest intact state and notes for the user. Raises UserError if there is none."""
    notes = []
    try:
        state = _read_state(output / STATE)
    except UserError as error:
        if not (output / PREVIOUS).exists():
            raise
        state = _read_state(output / PREVIOUS)
        if (output / STATE).exists():  # otherwise, the process was killed between two renames, and this is the newest
            notes.append(f"{str(error).rpartition(';')[0]}; continuing from {PREVIOUS}, the state before it")
    if state["data"] is None:
        notes.append(f"{output}: cannot check that the data is unchanged, since an earlier version started this run")
    return state, notes


def _read_state(path: Path) -> dict[str, Any]:
    state = checkpoint.load_state(path)
    position = state.get("position") if isinstance(state, dict) else None
    if isinstance(position, dict) and "data" not in state:  # format 1 has no fingerprint, and saved after evaluation
        position = {**position, "evaluated": position.get("step")}
        state |= {"data": None, "position": position}
    if isinstance(position, dict):  # earlier versions did not count evaluations
        position = {"stale": 0} | position
        state |= {"position": position}
    known = {entry.name for entry in fields(Position)}
    if (
        not isinstance(position, dict)
        or _PARTS - state.keys()
        or position.keys() != known
        or not all(isinstance(value, int | float) for value in position.values())
        or not isinstance(state["random"], list)
        or not isinstance(state["data"], dict | None)
    ):
        raise UserError(f"{path}: not a training state of this version; start a new run in another --output")
    return state


def random_state() -> dict[str, torch.Tensor]:
    """Return the state of torch's generators: the CPU's, and the GPU's if there is one."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():  # looking at its state would start it in a run on the CPU
        state["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    """Restore a state returned by `random_state`, for the generators of this machine."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
