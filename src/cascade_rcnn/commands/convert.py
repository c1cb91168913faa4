"""The command `cascade-rcnn convert`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cascade_rcnn.commands.parameters import Positional, refuse
from cascade_rcnn.errors import UserError
from cascade_rcnn.text import count

if TYPE_CHECKING:
    from cascade_rcnn.config import Category


def convert(
    source: Positional[Path],
    /,
    *,
    output: Path,
    origin: Annotated[Literal["detectron2", "mmdet", "torchvision"] | None, tyro.conf.arg(name="from")] = None,
    to: Literal["detectron2"] | None = None,
    config: str | None = None,
    annotations: Path | None = None,
) -> None:
    """Convert a checkpoint from detectron2, mmdetection or torchvision, or to detectron2.

    Args:
        source: The checkpoint: a .pth, .pkl or .safetensors file.
        output: The file to write: .safetensors with --from, .pth with --to (its config is written beside it: .yaml).
        origin: The framework that wrote the checkpoint.
        to: The framework to convert a checkpoint of this package to.
        config: The config it was trained with (detectron2's yaml or LazyConfig, mmdetection's py), or the name of a
            published detector with the same config, or COCO_V1 for torchvision's models fine-tuned from these weights;
            default: the architecture is inferred from the shapes of the weights, and the other settings are the
            framework's defaults.
        annotations: Annotations with the classes it was trained on; detectron2's checkpoints usually do not name them.
    """
    if (origin is None) == (to is None):
        raise UserError("give either --from (the checkpoint's framework) or --to detectron2")
    from cascade_rcnn.api import convert as api
    from cascade_rcnn.models.checkpoint import save
    from cascade_rcnn.outputs import check_outputs

    if origin is None:
        refuse(convert, locals(), ("config", "annotations"), "--to")
        api.save_detectron2(source, output)
        print(f"{output}: load it with detectron2's DetectionCheckpointer")
        return
    if output.suffix != ".safetensors":
        raise UserError(f"{output}: a converted model is a .safetensors file; use this suffix for the output")
    check_outputs([output], [source, config])
    categories = None if annotations is None else _categories(annotations)
    model = api.convert_checkpoint(source, origin, config=config, categories=categories)
    save(model, output)
    print(f"{output}: {model.config.name}, {count(model.config.num_classes, 'class')}")


def _categories(annotations: Path) -> tuple["Category", ...]:
    from cascade_rcnn.data import dataset_splits, is_one_split, load_annotations

    split = None if is_one_split(annotations) else next(iter(dataset_splits(annotations)), None)
    return load_annotations(annotations, split=split, bad_images="keep").categories
