"""YOLO: one label file per image in `yolo/labels`, named after the image, and `yolo/data.yaml`.

The folder is a dataset once the images are in `yolo/images`, under the same names. Of an image in a folder that is
itself called images, the label file lies where readers look for it: in labels, beside that folder in `yolo/images`.

A row is `class cx cy w h` or, in results with masks, `class x1 y1 x2 y2 ...`, the mask's outline. Coordinates are
fractions of the image's size.
"""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from shutil import rmtree

import numpy as np

from cascade_rcnn.config import Category
from cascade_rcnn.data.yolo_labels import label_of
from cascade_rcnn.engine.prediction.formats.kept import Kept, Least, kept, readable
from cascade_rcnn.engine.prediction.formats.outlines import outline
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import folder_aside
from cascade_rcnn.images.folders import inside


def write_yolo(folder: Path, journal: Journal, categories: Sequence[Category], least: Least) -> Path:
    """Write the folder, replacing any earlier one. Raises UserError if two images would share a label file."""
    ordered = sorted(categories, key=lambda category: category.id)
    numbers = {category.id: number for number, category in enumerate(ordered)}
    with folder_aside(folder) as aside:
        for entry in readable(journal):
            path = aside / text_of(entry.file_name)
            if path.exists():
                raise UserError(
                    f"{folder}: yolo cannot represent these images (two share the label file of {entry.file_name}); "
                    "choose another --format"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{numbers[one.category_id]} {_place(entry, one)}\n" for one in kept(entry, least)))
        names = "".join(f"  {number}: {_quoted(one.name)}\n" for number, one in enumerate(ordered))
        head = f"train: images\nval: images\nnc: {len(ordered)}\n"  # readers require both splits
        (aside / "data.yaml").write_text(f"{head}names:\n{names}", encoding="utf-8")
        rmtree(folder, ignore_errors=True)
        aside.replace(folder)
    return folder


def text_of(name: str) -> Path:
    """Return the label file of an image in the folder."""
    return label_of("images" / inside(name))


def _quoted(name: str) -> str:
    """Quote a class name for YAML, which unlike JSON has no surrogate pairs and no unprintable characters."""
    characters = json.dumps(name, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08X}" for one in characters)


def _place(entry: Entry, one: Kept) -> str:
    """Return a box, or an outline for all detections if one has a mask: readers expect one kind of row per file."""
    x, y, width, height = one.box
    if not entry.masks:
        points = np.array([[x + width / 2, y + height / 2], [width, height]])
    elif (points := outline(one.mask, finer=2)) is None:
        points = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    fractions = points / (entry.width, entry.height)
    return " ".join(f"{value:.6f}" for value in chain.from_iterable(fractions.tolist()))
