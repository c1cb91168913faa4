"""YOLO: a label file per image in `yolo`, under the image's name without folders, and data.yaml.

A row is `class cx cy w h`, or in results with masks `class x1 y1 x2 y2 ...`, an outline: one polygon that also walks to
the other parts of the mask and to its holes, and back the same way. Everything is in fractions of the image's size.
"""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from shutil import rmtree

import numpy as np

from cascade_rcnn.config import Category
from cascade_rcnn.engine.prediction.formats.kept import Kept, Least, kept, readable
from cascade_rcnn.engine.prediction.formats.outlines import polygons
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import folder_aside


def write_yolo(folder: Path, journal: Journal, categories: Sequence[Category], least: Least) -> Path:
    """Write the folder anew. Raises UserError if two images have the same name but for folder and suffix."""
    ordered = sorted(categories, key=lambda category: category.id)
    numbers = {category.id: number for number, category in enumerate(ordered)}
    with folder_aside(folder) as aside:
        for entry in readable(journal):
            path = aside / f"{Path(entry.file_name).stem}.txt"
            if path.exists():
                raise UserError(
                    f"{folder}: yolo cannot represent these images (two have the label file {path.name}); choose "
                    "another --format"
                )
            path.write_text("".join(f"{numbers[one.category_id]} {_place(entry, one)}\n" for one in kept(entry, least)))
        names = "".join(f"  {number}: {json.dumps(one.name)}\n" for number, one in enumerate(ordered))
        (aside / "data.yaml").write_text(f"nc: {len(ordered)}\nnames:\n{names}", encoding="utf-8")
        rmtree(folder, ignore_errors=True)
        aside.replace(folder)
    return folder


def _place(entry: Entry, one: Kept) -> str:
    """Return a box, or an outline: readers take all rows of a file for outlines if one of them is."""
    x, y, width, height = one.box
    if not entry.masks:
        points = np.array([[x + width / 2, y + height / 2], [width, height]])
    elif parts := polygons(one.mask, finer=2):
        points = _joined(parts)
    else:
        points = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    fractions = points / (entry.width, entry.height)
    return " ".join(f"{value:.6f}" for value in chain.from_iterable(fractions.tolist()))


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Join polygons (n, 2) by ways from the nearest point and back, which enclose nothing."""
    whole = parts[0]
    for part in parts[1:]:
        away = ((whole[:, None] - part[None]) ** 2).sum(axis=2)
        i, j = np.unravel_index(away.argmin(), away.shape)
        whole = np.concatenate((whole[: i + 1], part[j:], part[: j + 1], whole[i:]))
    return whole
