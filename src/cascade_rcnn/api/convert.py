"""Conversion of checkpoints from other frameworks and to detectron2."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from cascade_rcnn import interop
from cascade_rcnn.api.notes import tell
from cascade_rcnn.arguments import as_path
from cascade_rcnn.config import Category
from cascade_rcnn.engine.checkpoint import save_state
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import replacing
from cascade_rcnn.hub.peers import found_config, stock_settings
from cascade_rcnn.interop.convert import Origin
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.create import as_categories
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.outputs import check_outputs


def convert_checkpoint(
    source: str | Path,
    origin: Origin,
    *,
    config: str | Path | None = None,
    categories: Sequence[Category | str] | None = None,
) -> Detector:
    """Convert a checkpoint of detectron2, mmdetection ("mmdet") or torchvision to a detector in evaluation mode.

    `config` is the config it was trained with: detectron2's yaml or LazyConfig, mmdetection's py, or the name of a
    published detector with the same config; config files are parsed, never executed. Without it, the architecture is
    inferred from the shapes of the weights, and the other settings are the framework's defaults. torchvision has no
    configs: give "COCO_V1" for a model that was fine-tuned from `weights="COCO_V1"`. `categories` are the classes in
    the order of training, as names or as `Category` with the dataset's ids; by default, they are taken from the
    checkpoint or config, or numbered. Use `save` to write the result. Raises UserError if any part of the checkpoint
    cannot be converted.

    >>> ours = create_model("cascade_rcnn_resnet18_fpn", 80, backbone_width=8, pyramid_channels=8, head_width=8)
    >>> save_detectron2(ours, "detectron2.pth")
    >>> names = [f"part {number}" for number in range(80)]
    >>> model = convert_checkpoint("detectron2.pth", "detectron2", categories=names)
    >>> save(model, "model.safetensors")
    """
    classes = None if categories is None else as_categories(None, categories)
    stock = partial(stock_settings, origin=origin)
    with nullcontext() if config is None else found_config(config, origin) as file:
        model, notes = interop.convert_checkpoint(as_path("source", source), origin, file, stock, classes)
    tell(notes)
    return model


def save_detectron2(model: Detector | str | Path, path: str | Path) -> None:
    """Write a detector or checkpoint as a .pth file for detectron2's DetectionCheckpointer, and its config beside it.

    The config has the same name with the suffix .yaml, and is complete: `cfg.merge_from_file`. Networks that detectron2
    describes only in a LazyConfig have none. Settings that detectron2 does not have are noted. Raises UserError if it
    has no equivalent of some part of the network.

    >>> model = create_model("faster_rcnn_resnet18_fpn", 80, backbone_width=8, pyramid_channels=8, head_width=8)
    >>> save_detectron2(model, "faster.pth")
    """
    if Path(path).suffix != ".pth":
        raise UserError(f"{path}: detectron2 reads .pth files; use this suffix for the output")
    config = Path(path).with_suffix(".yaml")
    check_outputs([path, config], [model])
    if config.is_file() and not config.read_bytes().startswith(interop.WRITTEN.encode()):
        raise UserError(f"{config}: would be replaced, but was not written by this package; choose another output")
    detector = model if isinstance(model, Detector) else load(model)
    state = interop.to_detectron2(detector)
    text, notes = interop.config_for(detector.config, state)
    if text is None:
        save_state(path, {"model": state})
    else:
        with replacing(config) as aside:  # it appears once the weights are written
            aside.write_text(text, encoding="utf-8")
            save_state(path, {"model": state})
        notes = [f"its config is {config}; use cfg.merge_from_file", *notes]
    tell(notes)
