"""Create the package's blood cell dataset from BCCD: `python -m tools.cells BCCD_FOLDER`.

Converts a subset of BCCD (https://github.com/Shenggan/BCCD_Dataset, MIT) from its VOC layout to COCO json at half size
in `assets/cells`. Training images come from its train split, validation images from its test split, evenly spaced.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import PIL.Image
import tyro
from tyro.conf import Positional

import cascade_rcnn
from cascade_rcnn.data import Annotations, load_annotations

FOLDER = Path(cascade_rcnn.__file__).parent / "assets" / "cells"
SPLITS = {"train": ("train", 80), "val": ("test", 40)}  # our split: (BCCD's split, number of images)
SIZE = (320, 240)
_QUALITY = 85


def main(source: Positional[Path]) -> None:
    """Write the images, the annotation files and BCCD's licence."""
    for ours, (theirs, number) in SPLITS.items():
        whole = load_annotations(source, split=theirs)
        chosen = [i * len(whole) // number for i in range(number)]
        (FOLDER / "images").mkdir(parents=True, exist_ok=True)
        for i in chosen:
            with PIL.Image.open(whole.path(i)) as image:
                small = image.convert("RGB").resize(SIZE, PIL.Image.Resampling.LANCZOS)
            small.save(FOLDER / "images" / whole.path(i).name, quality=_QUALITY, optimize=True)
        (FOLDER / f"{ours}.json").write_text(json.dumps(_coco(whole, chosen), separators=(",", ":")) + "\n")
    shutil.copy(source / "LICENSE", FOLDER / "LICENSE")


def _coco(whole: Annotations, chosen: list[int]) -> dict[str, Any]:
    """Return the COCO dictionary of the chosen images, with boxes clipped to the image and scaled to `SIZE`."""
    images, annotations = [], []
    for image_id, i in enumerate(chosen, start=1):
        height, width = whole.image_sizes[i].tolist()
        name = f"images/{whole.path(i).name}"
        images.append({"id": image_id, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        rows = whole.rows(i)
        for (x, y, w, h), label in zip(whole.boxes[rows].tolist(), whole.labels[rows].tolist(), strict=True):
            left, right = (min(max(v, 0), width) * SIZE[0] / width for v in (x, x + w))
            top, bottom = (min(max(v, 0), height) * SIZE[1] / height for v in (y, y + h))
            box = [left, top, right - left, bottom - top]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": k, "name": category.name} for k, category in enumerate(whole.categories, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
