"""From a recipe to a training that is ready to run: processes, output folder, data, model, optimizer."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel

from cascade_rcnn.config import Category, ModelOptions
from cascade_rcnn.data import Annotations, check_images, check_same_categories, load_annotations
from cascade_rcnn.data.dataset import DetectionDataset
from cascade_rcnn.data.loader import make_loader
from cascade_rcnn.data.transforms import build_transforms
from cascade_rcnn.engine import optim, ranks
from cascade_rcnn.engine.fingerprint import check_same, fingerprint
from cascade_rcnn.engine.run import STATE, Run, holds_state, read_state
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.coco import COLUMNS, evaluate_boxes
from cascade_rcnn.files import locked, read_json, remove_leftovers, write_json
from cascade_rcnn.models.create import create_model
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.fine_tuning import start_from
from cascade_rcnn.recipes import Data, Recipe, flattened

_FABRIC = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
# When resuming; that the data is the same, wherever it lies now, is seen by its fingerprint.
_MAY_CHANGE = frozenset(
    {"output", "workers", "evaluate_every", "save_every"}
    | {f"data.{name}{more}" for name in ("train", "val") for more in ("", "_images", "_split")}
)


def launch(recipe: Recipe) -> Fabric:
    """Start the processes (or join those of torchrun). Raises UserError for what this machine cannot do."""
    _check_numbers(recipe)
    gpu = torch.cuda.is_available() and recipe.accelerator != "cpu"
    if recipe.accelerator == "cuda" and not gpu:
        raise UserError("accelerator cuda: torch sees no GPU here; choose cpu, or look at `cascade-rcnn doctor`")
    if recipe.precision == "fp16" and not gpu:
        raise UserError("precision fp16 needs a GPU; choose bf16 or fp32 on a CPU")
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", recipe.devices))  # set by torchrun
    if gpu and devices > torch.cuda.device_count():
        raise UserError(f"devices is {devices}, but there are {torch.cuda.device_count()} GPUs; give at most that many")
    precision = _native_precision(gpu) if recipe.precision == "auto" else recipe.precision
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator="cuda" if gpu else "cpu",
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        precision=_FABRIC[precision],  # type: ignore[arg-type]
    )
    if (cluster := getattr(fabric.strategy, "cluster_environment", None)) is not None:
        ranks.start(devices, externally=cluster.creates_processes_externally)
    fabric.launch()
    return fabric


def _check_numbers(recipe: Recipe) -> None:
    """Every number of the recipe within its range, NaN within none."""
    optimizer, data = recipe.optimizer, recipe.data
    for name in ("epochs", "batch_size", "accumulate", "devices"):
        _check(name, getattr(recipe, name), least=1)
    for name in ("seed", "workers", "evaluate_every", "save_every"):
        _check(name, getattr(recipe, name), least=0)
    _check("optimizer.lr_batch", optimizer.lr_batch, least=1)
    for name in ("lr", "weight_decay", "warmup_steps"):
        _check(f"optimizer.{name}", getattr(optimizer, name), least=0)
    for name in ("momentum", "warmup_factor"):
        _check(f"optimizer.{name}", getattr(optimizer, name), least=0, most=1)
    for drop in optimizer.drops:
        _check("optimizer.drops", drop, least=0, most=1)
    for name in ("flip", "photometric"):
        _check(f"data.{name}", getattr(data, name), least=0, most=1)
    if not optimizer.clip_norm > 0:
        raise UserError(f"optimizer.clip_norm is {optimizer.clip_norm}; give more than 0 (inf: no clipping)")
    if recipe.ema is not None and not 0 < recipe.ema < 1:
        raise UserError(f"ema is {recipe.ema}; give a decay between 0 and 1, such as 0.998, or None")


def _check(name: str, value: float, *, least: float, most: float = math.inf) -> None:
    if not (least <= value <= most and math.isfinite(value)):
        raise UserError(
            f"{name} is {value}; give " + (f"{least} or more" if most == math.inf else f"{least} to {most}")
        )


def _native_precision(gpu: bool) -> str:
    """bf16 where the hardware computes in it, else fp32."""
    if gpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")  # what torch uses, not what there is
    names = ("avx512_bf16", "amx_bf16", "amx_tile") if wide else ("bf16",)
    return "bf16" if any(known.get(name) for name in names) else "fp32"


@contextmanager
def claim(output: Path, fabric: Fabric, *, resume: bool) -> Iterator[None]:
    """Inside the block the folder is this training's alone. UserError where it is another's, or what it holds is."""
    if resume and not holds_state(output):
        raise UserError(f"{output / STATE}: there is no training to resume; leave out --resume")
    fabric.barrier()
    with ExitStack() as stack:
        refusal = ""
        if fabric.is_global_zero:
            try:
                stack.enter_context(locked(output))
                if not resume and holds_state(output):
                    raise UserError(
                        f"{output}: holds a training already; add --resume to continue it, or choose another --output"
                    )
                remove_leftovers(output)
            except UserError as error:
                refusal = str(error)
        refusal = fabric.broadcast(refusal)
        if refusal:
            raise UserError(refusal)
        yield


def prepare(recipe: Recipe, fabric: Fabric, *, resume: bool) -> tuple[Run, list[str]]:
    """The run, at its start or where it was left, and notes for the user. `claim` the output folder first."""
    output, state, notes = Path(recipe.output), None, []
    settings = json.loads(json.dumps(asdict(recipe)))
    if resume:
        state, notes = read_state(output)
        _check_settings(output, settings)
    train_set, val, data_notes = read_data(recipe.data)
    notes += data_notes
    data = fingerprint(train_set, val)
    if state is not None and state["data"] is not None:
        check_same(state["data"], data, output)
    torch.manual_seed(recipe.seed)
    if recipe.init is None:
        model = build_model(recipe, train_set.categories)
    else:
        model, kept = start_from(recipe.init, train_set.categories, **_image_sizes(recipe.options))
        notes.append(f"{recipe.init} gives the architecture and the weights; {kept}")
    groups = optim.parameter_groups(model, recipe.optimizer)
    built = optim.make_optimizer(groups, recipe.optimizer, fused=recipe.precision != "fp16")
    wrapped, optimizer = fabric.setup(model, built)
    averaged = None
    if recipe.ema is not None:
        averaged = AveragedModel(model, multi_avg_fn=optim.moving_average(recipe.ema), use_buffers=True)
    loader = make_loader(
        DetectionDataset(train_set, build_transforms(recipe.data.flip, recipe.data.photometric)),
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        seed=recipe.seed,
        shuffle=True,
        drop_last=True,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        replace_bad=recipe.data.bad_images == "skip",
    )
    run = Run(recipe, fabric, model, wrapped, optimizer, averaged, loader, train_set, val, data)  # type: ignore[arg-type]
    torch.manual_seed(recipe.seed + 1 + fabric.global_rank)  # each rank draws its own samples
    if state is not None:
        run.restore(state)
    if fabric.is_global_zero:
        write_json(output / "recipe.json", settings)
    return run, notes


def _image_sizes(options: ModelOptions) -> dict[str, Any]:
    """The sizes that a recipe asks for; without any, those of the checkpoint that it starts from."""
    sizes = {} if options.min_size == "default" else {"min_size": options.min_size}
    return sizes if options.max_size is None else sizes | {"max_size": options.max_size}


def build_model(recipe: Recipe, categories: Sequence[Category]) -> Detector:
    """The model that `recipe` trains from its backbone's weights on."""
    options = {option.name: getattr(recipe.options, option.name) for option in fields(recipe.options)}
    return create_model(recipe.model, categories=categories, weights_backbone=recipe.weights_backbone, **options)


def _check_settings(output: Path, settings: dict[str, Any]) -> None:
    """Raise UserError naming a setting that is not what the training in `output` began with."""
    began = read_json(output / "recipe.json")
    if not isinstance(began, dict):
        raise UserError(f"{output / 'recipe.json'}: not a recipe; put back the file that the training wrote there")
    defaults = flattened(json.loads(json.dumps(asdict(Recipe()))))  # of settings that are newer than the file
    before = defaults | flattened(began)
    for name, value in flattened(settings).items():
        if name not in _MAY_CHANGE and before.get(name) != value:
            way = "resume it with the same settings, or start anew in another --output"
            if name == "epochs":  # whose learning rates are already spent on the epochs planned
                last = output / "last.safetensors"
                way = f"to train longer, start a training from its end: --init {last} in another --output"
            raise UserError(f"{output}: this training began with {name} {before.get(name)}, not {value}; {way}")


def read_data(data: Data) -> tuple[Annotations, Annotations | None, list[str]]:
    """Read the training and validation sets, check all their images, and return them with notes for the user.

    Raises UserError where they cannot be used.
    """
    if not data.train:
        raise UserError(
            "nothing to train on: give --data FOLDER, or --data.train ANNOTATIONS (COCO json, VOC folder or YOLO "
            "data.yaml)"
        )
    train_set = load_annotations(data.train, data.train_images, data.train_split, bad_images=data.bad_images)
    if not len(train_set.boxes):
        raise UserError(f"{train_set.source}: there are no boxes in it, and nothing to learn; check the annotations")
    train_set = check_images(train_set, bad_images=data.bad_images, max_megapixels=data.max_megapixels)
    if not data.val:
        return train_set, None, [*train_set.notes, "no --data.val is given: the training will not be evaluated"]
    images = data.val_images or (data.train_images if data.val.endswith(".json") else None)
    classes = [category.name for category in train_set.categories]
    val = load_annotations(data.val, images, data.val_split, classes, bad_images=data.bad_images)
    check_same_categories(train_set, val)
    val = check_images(val, bad_images=data.bad_images, max_megapixels=data.max_megapixels)
    evaluate_boxes(val, np.zeros((0, COLUMNS)))  # what cannot be evaluated says so now, not after an epoch
    return train_set, val, [*train_set.notes, *val.notes]
