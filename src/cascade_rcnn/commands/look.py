"""The command `cascade-rcnn look`."""

import sys
from pathlib import Path

from cascade_rcnn.commands.parameters import Positional, check_given, refuse


def look(
    data: Positional[tuple[Path, ...]],
    /,
    *,
    images: Path | None = None,
    splits: tuple[str, ...] = (),
    recipe: str | None = None,
    checkpoint: Path | None = None,
    augment: str | None = None,
    output: Path | None = None,
    batch_size: int = 1,
    workers: int = 2,
    device: str | None = None,
    max_megapixels: float = 179,
) -> None:
    """Inspect a dataset before training; the exit status is 1 if there are problems to fix.

    Args:
        data: A dataset folder with its splits, or a file or folder for each split, the training set first.
        images: Folder of the images, if the annotations do not name it.
        splits: The splits to inspect; default: all splits of a folder.
        recipe: Compare the boxes with the anchors and image size of this recipe or recipe.json; default: that of
            --augment, or else finetune.
        checkpoint: Compare the boxes with those of this model instead, and the labels with its detections.
        augment: Also show training images as augmented by this recipe.
        output: Folder for the page (index.html) and look.json; default: look/NAME.
        batch_size: Images per step of the model.
        workers: Number of data loading processes of the model.
        device: cpu, cuda, cuda:1 or mps; default: cuda if available, else cpu.
        max_megapixels: Larger images are unusable.
    """
    check_given("data", data, "a dataset folder, or an annotation file for each split", splits=splits)
    if checkpoint is None:
        refuse(look, locals(), ("device",), "data alone, without --checkpoint")
    else:
        refuse(look, locals(), ("recipe",), "--checkpoint")
    from rich.console import Console

    from cascade_rcnn.api.look import look as api

    output = output or Path("look") / data[0].resolve().stem
    seen = api(
        data[0] if len(data) == 1 else data,
        images=images,
        splits=splits,
        recipe=recipe,
        checkpoint=checkpoint,
        augment=augment,
        output=output,
        batch_size=batch_size,
        workers=workers,
        device=device,
        max_megapixels=max_megapixels,
    )
    Console(width=None if sys.stdout.isatty() else 120).print(seen.table())
    print(f"\npage: {output / 'index.html'}")
    sys.exit(1 if seen.goes_wrong else 0)
