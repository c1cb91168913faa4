"""Splits of a dataset into training and validation images."""

import os
from dataclasses import replace
from numbers import Real
from pathlib import Path

import numpy as np

from cascade_rcnn.api.notes import tell
from cascade_rcnn.arguments import as_path, check_number, shown
from cascade_rcnn.data import Annotations, check_images, load_annotations, save_coco
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.data.held_out import draw
from cascade_rcnn.data.load import check_only_of_files
from cascade_rcnn.data.packed import PackedStrings
from cascade_rcnn.engine.progress import ProgressBar
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import MAX_MEGAPIXELS
from cascade_rcnn.inspection import duplicates
from cascade_rcnn.inspection.scan import scan
from cascade_rcnn.outputs import check_outputs
from cascade_rcnn.text import count

_COPIES = 10  # near-duplicates that may be copies of an image in a small dataset


def split(
    data: str | Path | Annotations,
    output: str | Path | None = None,
    *,
    fraction: float = 0.2,
    images: str | Path | None = None,
    split: str | None = None,
    seed: int = 0,
    bad_images: BadImages = "stop",
) -> tuple[Annotations, Annotations]:
    """Split a dataset into training and validation images, and return the annotations of both.

    About a `fraction` of the images, and of those that show each class, is set aside for validation. Images that show
    the same (duplicates, resized or recompressed copies, and Roboflow's augmented versions of an image) stay together:
    a copy of a training image says nothing about new images. If more look the same than are set aside, as with a fixed
    camera, they are divided, with a note. `data`, `images` and `split` are as in `load_annotations`;
    `bad_images="skip"` leaves out unusable images.

    With an `output` folder, also writes train.json and val.json there, COCO files which refer to the images where they
    are. Raises UserError if these files exist, if images are unusable, or if all of them show the same.

    >>> training, validation = split("shapes/train.json", "halves", fraction=0.5)
    >>> len(training), len(validation), len(load_annotations("halves", split="val"))
    (3, 3, 3)
    """
    if not isinstance(fraction, Real) or not 0 < fraction < 1:
        raise UserError(f"fraction is {shown(fraction)}; give a number between 0 and 1, such as 0.2")
    check_number("seed", seed, 0, whole=True)
    check_only_of_files(data, images=images, split=split)
    files = _files(output)
    if not isinstance(data, Annotations):
        data = load_annotations(data, images, split, masks=True, bad_images=bad_images)
    data = check_images(data, bad_images=bad_images)
    groups, notes = _groups(data, fraction)
    held_out = draw(data.shown, groups, fraction, seed)
    if held_out.all() or not held_out.any():
        raise UserError(
            f"{data.source}: {count(len(data), 'image')} cannot be split with a fraction of {fraction:g}, since images "
            "that show the same stay together; give other images or another fraction"
        )
    parts = data.select(~held_out), data.select(held_out)
    tell([*data.notes, *notes, *_absent(parts[1])])
    try:
        for part, path in zip(parts, files, strict=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_coco(_seen_from(part, path.parent), path)
    except BaseException:  # neither file is of use alone, and it would stand in the way of another try
        for path in files:
            path.unlink(missing_ok=True)
        raise
    return parts


def _files(output: str | Path | None) -> list[Path]:
    """Return the files to write. Raises UserError if they exist or cannot be written."""
    if output is None:
        return []
    files = [as_path("output", output) / name for name in ("train.json", "val.json")]
    if (there := next((path for path in files if path.exists()), None)) is not None:
        raise UserError(f"{there}: exists; choose another output folder, so that nothing is lost")
    check_outputs(files)
    return files


def _groups(data: Annotations, fraction: float) -> tuple[np.ndarray, list[str]]:
    """Number the groups of images that show the same, or are made from the same image, (N,); with notes.

    More near-duplicates than could be set aside are not copies of an image: a fixed camera, a blank surface or a form
    looks the same in every image.
    """
    paths = [data.path(i) for i in range(len(data))]
    with ProgressBar("split", len(paths), shown=True) as bar:
        seen = list(scan(paths, MAX_MEGAPIXELS, lambda images: bar.advance(images, "")))
    alike = duplicates.find(
        [one.digest for one in seen],
        np.array([one.difference for one in seen], np.uint64),
        np.stack([one.shades for one in seen]),
        np.array([one.size for one in seen], np.int64),
    )
    most = max(_COPIES, fraction * len(paths))
    copies = [same for same in alike.near if len(same) <= most]
    groups = duplicates.Groups(len(paths))
    for same in (*copies, *alike.exact, *duplicates.versions([*data.file_names])):
        groups.join(np.full(len(same), same[0]), np.array(same))
    number = sum(map(len, alike.near)) - sum(map(len, copies))
    note = (
        f"{data.source}: {number} of {count(len(paths), 'image')} look nearly the same, as with a fixed camera, and "
        "were divided as different images; if they are copies, or frames of one recording, divide them yourself"
    )
    return groups.numbers(), [note] if number else []


def _absent(validation: Annotations) -> list[str]:
    absent = [validation.class_names[k] for k in np.flatnonzero(~validation.shown.any(axis=0))]
    if not absent:
        return []
    others = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    return [f"{validation.source}: no validation image shows {absent[0]!r}{others}, so its AP cannot be measured"]


def _seen_from(data: Annotations, folder: Path) -> Annotations:
    """Return a copy with file names relative to a folder."""
    names = [_relative(data.path(i), folder) for i in range(len(data))]
    return replace(data, images_dir=folder, file_names=PackedStrings.pack(names))


def _relative(path: Path, folder: Path) -> str:
    path = path.parent.resolve() / path.name  # `..` leads out of the folder that a link leads to
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return path.absolute().as_posix()
