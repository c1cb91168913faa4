"""The command `cascade-rcnn split`."""

from pathlib import Path
from typing import Literal

from cascade_rcnn.commands.parameters import Positional
from cascade_rcnn.text import count


def split(
    data: Positional[Path],
    /,
    *,
    output: Path,
    fraction: float = 0.2,
    images: Path | None = None,
    split: str | None = None,
    seed: int = 0,
    bad_images: Literal["stop", "skip"] = "stop",
) -> None:
    """Set images aside for validation: writes train.json and val.json, which refer to the images where they are.

    Args:
        data: Annotations without splits: a COCO json, a VOC or YOLO folder.
        output: Folder for train.json and val.json.
        fraction: Fraction of the images, and of those that show each class, for validation.
        images: Folder of the images, if the annotations do not name it.
        split: The split to divide, if there are several.
        seed: Another number draws other images.
        bad_images: What to do with unusable images: report them and stop, or leave them out.
    """
    from cascade_rcnn.api.split import split as api

    training, validation = api(
        data, output, fraction=fraction, images=images, split=split, seed=seed, bad_images=bad_images
    )
    for part, name in ((training, "train"), (validation, "val")):
        print(f"{output / name}.json: {count(len(part), 'image')}, {count(len(part.boxes), 'box')}")
    print(f"next: cascade-rcnn train auto --data {output}")
