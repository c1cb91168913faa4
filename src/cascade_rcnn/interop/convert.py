"""Convert a checkpoint of any supported framework to a detector."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop import backbones, detectron2, layout, mmdet, reader, torchvision
from cascade_rcnn.interop.mmdet_files import Stock, nothing
from cascade_rcnn.interop.renaming import Names, State
from cascade_rcnn.models.build import build
from cascade_rcnn.models.detector import Detector

Origin: TypeAlias = Literal["detectron2", "mmdet", "torchvision"]
PEERS: dict[str, ModuleType] = {"detectron2": detectron2, "mmdet": mmdet, "torchvision": torchvision}


def convert_checkpoint(
    source: Path, origin: Origin, config: Path | None = None, stock: Stock = nothing
) -> tuple[Detector, list[str]]:
    """Build a detector, in evaluation mode, from another framework's checkpoint, with notes on what was assumed.

    `config` is the config that it was trained with (detectron2: config.yaml or a LazyConfig; mmdet: config.py, which
    most mmdet checkpoints contain). Without one, the architecture is inferred from tensor shapes, and all other
    settings are the framework's defaults. `stock` looks up the settings of published detectors that a config builds on.
    Raises UserError, in one line, for anything that cannot be converted completely.
    """
    if origin not in PEERS:
        raise UserError(f"origin '{origin}' is unknown; give {', '.join(PEERS)}")
    checkpoint = reader.read(source)
    try:
        _check_origin(checkpoint.state, origin)
        layout.our_names(
            origin, checkpoint.state, PEERS[origin].NAMES, PEERS[origin].IGNORED, PEERS[origin].MASK
        )  # reports unknown tensors before problems with the config
        settings, notes = PEERS[origin].read_settings(config, checkpoint.meta, stock)
        model_config, state = PEERS[origin].convert(checkpoint.state, settings)
        model = build(model_config)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    model.load_state_dict(state, strict=False)  # complete except for num_batches_tracked
    return model.eval(), [*notes, *_notes(PEERS[origin], checkpoint.state, model_config, settings)]


def names_at(origin: Origin, config: ModelConfig) -> Names:
    """Return pairs (our module, their module) for all modules that a model of this config may have."""
    return (*backbones.of_config(origin, config.backbone).names, *PEERS[origin].NAMES)


def _check_origin(state: State, origin: str) -> None:
    found = next((peer for peer, module in PEERS.items() if any(re.match(module.SIGN, name) for name in state)), None)
    if found is None:
        raise UserError(f"the tensor names match no detector of {', '.join(PEERS)}; only these can be converted")
    if found != origin:
        raise UserError(f"this looks like a {found} checkpoint: use --from {found}")


def _notes(peer: ModuleType, state: State, config: ModelConfig, settings: Any) -> list[str]:
    notes = [note] if peer is torchvision and (note := torchvision.assumed(config)) else []
    masks = sum(re.match(peer.MASK, name) is not None for name in state)
    if masks and not config.tasks:
        notes.append(f"the mask or keypoint head ({masks} tensors) is left out; boxes do not depend on it")
    if any(name.startswith("sem_seg_head.") for name in state):
        notes.append("the semantic segmentation head is left out; boxes do not depend on it")
    if config.categories[0].name == "class 1":
        notes.append(f"the class names are unknown; they are set to 'class 1' to 'class {config.num_classes}'")
    elif settings is None:
        notes.append(f"{config.num_classes} classes are assumed to be COCO's")
    return notes
