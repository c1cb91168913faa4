"""Training: one visible loop on Lightning Fabric. Read `train`, then `_epoch`."""

import json
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cascade_rcnn.data import (
    Annotations,
    DetectionDataset,
    DetectionLoader,
    build_transforms,
    check_images,
    check_same_categories,
    load_annotations,
    make_loader,
)
from cascade_rcnn.engine import checkpoint, machine, optim
from cascade_rcnn.engine.evaluate import detect, evaluation_loader
from cascade_rcnn.engine.logs import MetricLog, ProgressBar
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.coco import Metrics, evaluate_boxes
from cascade_rcnn.files import replacing
from cascade_rcnn.models.build import create_model
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.recipes import Recipe

_MAY_CHANGE = ("output", "workers", "evaluate_every", "save_every")  # when resuming
_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


class Interrupted(Exception):  # noqa: N818
    """The user stopped the training; its state is saved."""


@dataclass
class Position:
    """Where a training stands; saved with its weights."""

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
    wrapped: nn.Module  # the model as Fabric wants it called: autocast, DDP
    optimizer: torch.optim.Optimizer
    averaged: AveragedModel | None
    loader: DetectionLoader
    val: Annotations | None
    output: Path
    position: Position = field(default_factory=Position)

    @property
    def evaluated(self) -> Detector:
        """The model that is evaluated and saved: the averaged one where there is one."""
        return self.averaged.module if self.averaged is not None else self.model  # type: ignore[return-value]

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch."""
        return math.ceil(len(self.loader) / self.recipe.accumulate)

    @property
    def images_per_step(self) -> int:
        """Images in an update, over all ranks."""
        return self.recipe.batch_size * self.recipe.accumulate * self.fabric.world_size


def train(recipe: Recipe, *, resume: bool = False) -> Path:
    """Run a recipe to its end and return the folder with its checkpoints, logs and results.json.

    Raises UserError for a mistake in the recipe or its data, `Interrupted` when stopped by the user (state saved).
    With `resume` it continues where `output` stands; on a CPU the weights equal an uninterrupted run's to the bit.
    """
    fabric = _launch(recipe)
    run, notes = _setup(recipe, fabric, resume)
    for note in notes:
        fabric.print(f"note: {note}")
    log = MetricLog(run.output, "train", run.position.step) if fabric.is_global_zero else None
    scores = MetricLog(run.output, "evaluation", run.position.step) if fabric.is_global_zero else None
    metrics = None
    with _stop_flag() as stop:
        while run.position.epoch < recipe.epochs:
            _epoch(run, log, stop)
            run.position.epoch, run.position.batch = run.position.epoch + 1, 0
            if _is_due(recipe, run.position.epoch) and run.val is not None:
                metrics = _validate(run)
                if scores is not None:
                    scores.add(run.position.step, _headline(metrics))
            _save(run, metrics)
    if fabric.is_global_zero:
        _finish(run)
    for each in (log, scores):
        if each is not None:
            each.close()
    return run.output


def _launch(recipe: Recipe) -> Fabric:
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", recipe.devices))  # set by torchrun
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1))
    if recipe.precision == "fp16" and (recipe.accelerator == "cpu" or not torch.cuda.is_available()):
        raise UserError("--precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
    if recipe.accelerator == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--accelerator cuda: torch sees no GPU here; use --accelerator cpu, or check `cascade-rcnn doctor`"
        )
    fabric = Fabric(
        accelerator=recipe.accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        precision=_PRECISIONS[recipe.precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def _setup(recipe: Recipe, fabric: Fabric, resume: bool) -> tuple[Run, list[str]]:
    """Data, model, optimizer, and the position to start from."""
    output = Path(recipe.output)
    state = _claim(output, recipe, fabric, resume)
    train_set, val, notes = _read_data(recipe)
    torch.manual_seed(recipe.seed)
    model = create_model(
        recipe.model,
        categories=train_set.categories,
        weights_backbone=None if recipe.weights_backbone in (None, "none", "None") else recipe.weights_backbone,
        **{name: getattr(recipe.options, name) for name in recipe.options.__dataclass_fields__},
    )
    if recipe.init is not None:
        anew = checkpoint.initialise(model, recipe.init)
        notes += [f"{recipe.init}: other classes; {len(anew)} tensors of the classifiers start anew"] if anew else []
    groups = optim.parameter_groups(model, model.config.stages, recipe.optimizer.weight_decay)
    wrapped, optimizer = fabric.setup(model, optim.make_optimizer(groups, recipe.optimizer))
    averaged = None
    if recipe.ema is not None:
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
    transforms = build_transforms(recipe.data.flip, recipe.data.photometric)
    loader = make_loader(
        DetectionDataset(train_set, transforms),
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        seed=recipe.seed,
        shuffle=True,
        drop_last=True,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    run = Run(recipe, fabric, model, wrapped, optimizer, averaged, loader, val, output)  # type: ignore[arg-type]
    torch.manual_seed(recipe.seed + 1 + fabric.global_rank)
    if state is not None:
        _restore(run, state)
    return run, notes if fabric.is_global_zero else []


def _read_data(recipe: Recipe) -> tuple[Annotations, Annotations | None, list[str]]:
    data = recipe.data
    if not data.train:
        raise UserError("nothing to train on: give --data.train ANNOTATIONS (COCO json, VOC folder or YOLO data.yaml)")
    train_set = load_annotations(data.train, data.train_images, data.train_split)
    check_images(train_set)
    if not data.val:
        return train_set, None, [*train_set.notes, "no --data.val: the training is not evaluated"]
    val = load_annotations(
        data.val, data.val_images or (data.train_images if _is_json(data.val) else None), data.val_split
    )
    check_images(val)
    check_same_categories(train_set, val)
    return train_set, val, [*train_set.notes, *val.notes]


def _is_json(path: str) -> bool:
    return path.endswith(".json")


def _claim(output: Path, recipe: Recipe, fabric: Fabric, resume: bool) -> dict | None:
    """Take the output folder: the saved state when resuming, else None. Never overwrites another training."""
    saved, settings = output / "last.state.pt", output / "recipe.json"
    config = asdict(recipe)
    if resume:
        state = checkpoint.load_state(saved)
        before = json.loads(settings.read_text())
        changed = [
            key for key in config if key not in _MAY_CHANGE and before.get(key) != json.loads(json.dumps(config))[key]
        ]
        if changed:
            raise UserError(
                f"{settings}: this training began with another {changed[0]} ({before.get(changed[0])}); resume with the "
                "same settings, or start anew in another --output"
            )
        return state
    if saved.exists():
        raise UserError(f"{output}: holds a training already; add --resume to continue it, or choose another --output")
    fabric.barrier()
    if fabric.is_global_zero:
        with replacing(settings) as aside:
            aside.write_text(json.dumps(config, indent=1))
    return None


def _restore(run: Run, state: dict) -> None:
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    if run.averaged is not None:
        run.averaged.load_state_dict(state["averaged"])
    run.fabric.strategy.precision.load_state_dict(state["precision"])
    run.position = Position(**state["position"])
    random = state["random"]
    if len(random) != run.fabric.world_size:
        raise UserError(f"{run.output}: was trained on {len(random)} devices; resume it with --devices {len(random)}")
    torch.set_rng_state(random[run.fabric.global_rank]["cpu"])
    if torch.cuda.is_available() and "cuda" in random[run.fabric.global_rank]:
        torch.cuda.set_rng_state(random[run.fabric.global_rank]["cuda"])


def _epoch(run: Run, log: MetricLog | None, stop: dict) -> None:
    """The rest of the current epoch: batches in, weights moved."""
    recipe, fabric, position = run.recipe, run.fabric, run.position
    run.model.train()
    run.loader.set_epoch(position.epoch, position.batch)
    total = run.steps_per_epoch * recipe.epochs
    title = f"epoch {position.epoch + 1}/{recipe.epochs}"
    left = (len(run.loader) - position.batch) * recipe.batch_size * fabric.world_size
    named: dict[str, torch.Tensor] = {}
    seen: list[int] = []
    clock = time.monotonic()
    with ProgressBar(title, left, shown=fabric.is_global_zero) as bar:
        for images, targets in run.loader:
            position.batch += 1
            updates = position.batch % recipe.accumulate == 0 or position.batch == len(run.loader)
            with fabric.no_backward_sync(run.wrapped, enabled=not updates):  # type: ignore[arg-type]
                losses = run.wrapped(images, targets)
                fabric.backward(torch.stack(list(losses.values())).sum() / recipe.accumulate)
            named = {k: named.get(k, 0) + v.detach() / recipe.accumulate for k, v in losses.items()}
            seen += [int(target["image_id"]) for target in targets]
            if not updates:
                continue
            rate = optim.learning_rate(recipe.optimizer, position.step, total, run.images_per_step)
            optim.set_learning_rate(run.optimizer, rate)
            interrupted = _update(run, named, seen, stop)
            position.step += 1
            position.images += len(seen) * fabric.world_size
            now = time.monotonic()
            position.seconds, clock = position.seconds + now - clock, now
            loss = _log(log, position, rate, named) if log is not None else math.nan
            bar.advance(len(seen) * fabric.world_size, f"loss {loss:.3f}")
            named, seen = {}, []
            if interrupted or (recipe.save_every and position.step % recipe.save_every == 0):
                _save_state(run)
            if interrupted:
                raise Interrupted(
                    f"stopped in epoch {position.epoch + 1} after {position.step} updates; everything is saved in "
                    f"{run.output}: add --resume to continue"
                )


def _update(run: Run, named: dict[str, torch.Tensor], seen: list[int], stop: dict) -> bool:
    """One step of the optimizer. True if the user wants to stop; UserError if anything is not finite."""
    norm = run.fabric.clip_gradients(
        run.wrapped,  # type: ignore[arg-type]
        run.optimizer,
        max_norm=run.recipe.optimizer.clip_norm,
        error_if_nonfinite=False,
    )
    healthy = torch.stack(list(named.values())).isfinite().all()
    if run.recipe.precision != "fp16" and norm is not None:  # fp16's scaler skips such steps by itself
        healthy = healthy & norm.isfinite()
    signals = torch.tensor([float(not healthy), float(stop["asked"])], device=run.fabric.device)
    if run.fabric.world_size > 1:
        dist.all_reduce(signals, op=dist.ReduceOp.MAX)
    broken, interrupted = (bool(x) for x in signals.tolist())
    if broken:
        culprits = _gather(run.fabric, seen if not healthy else [])
        values = ", ".join(f"{name} {value.item():.3g}" for name, value in named.items())
        raise UserError(
            f"the loss or its gradient is not finite at update {run.position.step + 1} (images {culprits}: {values}); "
            f"look at these images' annotations, or lower --optimizer.lr; the last good checkpoint is in {run.output}"
        )
    run.optimizer.step()
    run.optimizer.zero_grad()
    if run.averaged is not None:
        run.averaged.update_parameters(run.model)
    return interrupted


def _gather(fabric: Fabric, mine: list[int]) -> list[int]:
    if fabric.world_size == 1:
        return mine
    everyone: list[list[int]] = [[] for _ in range(fabric.world_size)]
    dist.all_gather_object(everyone, mine)
    return [image for one in everyone for image in one]


def _log(log: MetricLog, position: Position, rate: float, named: dict[str, torch.Tensor]) -> float:
    values = {name: value.item() for name, value in named.items()}
    loss = sum(values.values())
    speed = position.images / max(1e-9, position.seconds)
    log.add(position.step, {"epoch": position.epoch, "lr": rate, "images_per_s": speed, "loss": loss, **values})
    return loss


def _is_due(recipe: Recipe, epoch: int) -> bool:
    return epoch % recipe.evaluate_every == 0 or epoch == recipe.epochs


def _validate(run: Run) -> Metrics:
    """COCO's figures on the validation set, the same on every rank."""
    fabric, val = run.fabric, run.val
    assert val is not None
    loader = evaluation_loader(
        val, run.recipe.batch_size, run.recipe.workers, rank=fabric.global_rank, world_size=fabric.world_size
    )
    number = -(-len(val) // fabric.world_size)
    found = detect(run.evaluated, loader, number, context=fabric.autocast, shown=fabric.is_global_zero)
    if fabric.world_size > 1:
        parts: list[np.ndarray] = [np.empty(0)] * fabric.world_size
        dist.all_gather_object(parts, found)
        found = np.concatenate(parts)
    metrics = evaluate_boxes(val, found)
    head = ", ".join(f"{name} {value:.3f}" for name, value in _headline(metrics).items())
    fabric.print(f"epoch {run.position.epoch}: {head}")
    return metrics


def _headline(metrics: Metrics) -> dict[str, float]:
    names = ("ap", "ap50", "ap60", "ap70", "ap75", "ap80", "ap90", "ap_small", "ap_medium", "ap_large", "ar100")
    return {name: getattr(metrics, name) for name in names}


def _save(run: Run, metrics: Metrics | None) -> None:
    """last.safetensors and the state to resume from; best.safetensors and its figures when AP has risen."""
    position = run.position
    better = metrics is not None and metrics.ap > position.best_ap and _is_due(run.recipe, position.epoch)
    if better and metrics is not None:
        position.best_ap = metrics.ap
    if run.fabric.is_global_zero:
        checkpoint.save(run.evaluated, run.output / "last.safetensors")
        if better and metrics is not None:
            checkpoint.save(run.evaluated, run.output / "best.safetensors")
            with replacing(run.output / "best.json") as aside:
                aside.write_text(json.dumps({"epoch": position.epoch, **metrics.to_dict()}, indent=1))
    _save_state(run)


def _save_state(run: Run) -> None:
    mine: dict[str, torch.Tensor] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        mine["cuda"] = torch.cuda.get_rng_state()
    random = [mine]
    if run.fabric.world_size > 1:
        random = [mine] * run.fabric.world_size
        dist.all_gather_object(random, mine)
    if not run.fabric.is_global_zero:
        return
    state = {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "precision": run.fabric.strategy.precision.state_dict(),
        "position": asdict(run.position),
        "random": random,
    }
    if run.averaged is not None:
        state["averaged"] = run.averaged.state_dict()
    checkpoint.save_state(run.output / "last.state.pt", state)


def _finish(run: Run) -> None:
    """results.json: what was reached, how fast, with how much memory, and where."""
    best = run.output / "best.json"
    results = {
        "model": run.recipe.model,
        "epochs": run.position.epoch,
        "updates": run.position.step,
        "images_per_second": run.position.images / max(1e-9, run.position.seconds),
        "training_seconds": run.position.seconds,
        "peak_memory_mb": machine.peak_memory_mb(),
        "best": json.loads(best.read_text()) if best.exists() else None,
        "machine": machine.describe(),
    }
    with replacing(run.output / "results.json") as aside:
        aside.write_text(json.dumps(results, indent=1))


@contextmanager
def _stop_flag() -> Iterator[dict]:
    """Ctrl-C (or a scheduler's SIGTERM) sets `asked`; a second one interrupts at once."""
    stop = {"asked": False}

    def ask(number: int, frame: object) -> None:
        if stop["asked"]:
            raise KeyboardInterrupt
        stop["asked"] = True
        print("stopping after this step; once more to stop at once", flush=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
