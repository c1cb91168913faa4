"""Convert a checkpoint of any supported framework to a detector."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

from cascade_rcnn import tensor_files
from cascade_rcnn.config import Category, ModelConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop import backbones, detectron2, layout, mmdet, torchvision
from cascade_rcnn.interop.mmdet_config import OF_VERSION_1
from cascade_rcnn.interop.mmdet_files import Stock, nothing
from cascade_rcnn.interop.renaming import Names, State
from cascade_rcnn.models.build import build
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.text import count

Origin: TypeAlias = Literal["detectron2", "mmdet", "torchvision"]
PEERS: dict[str, ModuleType] = {"detectron2": detectron2, "mmdet": mmdet, "torchvision": torchvision}


def convert_checkpoint(
    source: Path,
    origin: Origin,
    config: Path | None = None,
    stock: Stock = nothing,
    categories: tuple[Category, ...] | None = None,
) -> tuple[Detector, list[str]]:
    """Build a detector, in evaluation mode, from another framework's checkpoint, with notes on what was assumed.

    `config` is the config that it was trained with (detectron2: config.yaml or a LazyConfig; mmdet: config.py, which
    most mmdet checkpoints contain). Without one, the architecture is inferred from tensor shapes, and all other
    settings are the framework's defaults. `stock` looks up the settings of published detectors that a config builds on.
    `categories` are the classes in the order of the checkpoint's; otherwise, names come from its metadata or config.
    Raises UserError, in one line, for anything that cannot be converted completely.
    """
    if origin not in PEERS:
        raise UserError(f"origin '{origin}' is unknown; give {', '.join(PEERS)}")
    checkpoint = tensor_files.read(source)
    try:
        _check_origin(checkpoint, origin)
        layout.our_names(
            origin, checkpoint.state, PEERS[origin].NAMES, PEERS[origin].IGNORED, PEERS[origin].MASK
        )  # reports unknown tensors before problems with the config
        settings, notes = PEERS[origin].read_settings(config, checkpoint.meta, stock)
        model_config, state = PEERS[origin].convert(checkpoint.state, settings)
        named, about_classes = _named(model_config, settings, categories)
        model = build(named)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    model.load_state_dict(state, strict=False)  # complete except for num_batches_tracked
    about_file = _averages(checkpoint.averages) if origin != "mmdet" else []  # which stores them as `state_dict`
    return model.eval(), [*notes, *about_file, *_notes(PEERS[origin], checkpoint.state, model_config), *about_classes]


def names_at(origin: Origin, config: ModelConfig) -> Names:
    """Return pairs (our module, their module) for all modules that a model of this config may have."""
    return (*backbones.of_config(origin, config.backbone).names, *PEERS[origin].NAMES)


def _check_origin(checkpoint: tensor_files.Checkpoint, origin: str) -> None:
    state = checkpoint.state
    found = next((peer for peer, module in PEERS.items() if any(re.match(module.SIGN, name) for name in state)), None)
    if found is None:
        raise UserError(f"the tensor names match no detector of {', '.join(PEERS)}; only these can be converted")
    if found != origin:
        raise UserError(f"this looks like a {found} checkpoint: use --from {found}")
    version = str(checkpoint.meta.get("mmdet_version", ""))
    if version.startswith(("0.", "1.")) or any(re.match(mmdet.VERSION_1, name) for name in state):
        raise UserError(OF_VERSION_1)


def _named(
    config: ModelConfig, settings: Any, categories: tuple[Category, ...] | None
) -> tuple[ModelConfig, list[str]]:
    """Return the config with the categories given, if any, and notes on the names of the classes.

    Of more categories than there are classes, those that the checkpoint names are taken.
    """
    if categories is None:
        return config, _class_notes(config, settings)
    known = config.class_names
    given = [category.name for category in categories]
    if len(categories) > config.num_classes and set(known) <= set(given):
        categories = tuple(category for category in categories if category.name in known)
    if len(categories) != config.num_classes:
        raise UserError(f"has {count(config.num_classes, 'class')}, but {len(categories)} categories are given")
    config = replace(config, categories=categories)
    if sorted(known) == sorted(config.class_names) and known != config.class_names:
        order = ", ".join(known[:3]) + (", ..." if len(known) > 3 else "")
        return config, [f"the checkpoint names the same classes in another order ({order}); check some predictions"]
    return config, []


def _class_notes(config: ModelConfig, settings: Any) -> list[str]:
    if config.categories[0].name == "class 1":
        made_up = f"the class names are unknown; they are set to 'class 1' to 'class {config.num_classes}'"
        return [f"{made_up}; `convert --annotations` (in Python, categories=...) names them"]
    return [f"{config.num_classes} classes are assumed to be COCO's"] if settings is None else []


def _averages(names: list[str]) -> list[str]:
    return [
        f"the averaged weights in '{name}' are not used; to convert them, save them to a file of their own"
        for name in names
    ]


def _notes(peer: ModuleType, state: State, config: ModelConfig) -> list[str]:
    notes = [note] if peer is torchvision and (note := torchvision.assumed(config)) else []
    heads = [name for name in state if re.match(peer.MASK, name) and ("keypoint_" in name or not config.tasks)]
    if heads:
        notes.append(
            f"the mask or keypoint head ({count(len(heads), 'tensor')}) is left out; boxes do not depend on it"
        )
    if any(name.startswith("sem_seg_head.") for name in state):
        notes.append("the semantic segmentation head is left out; boxes do not depend on it")
    return notes
