"""PASCAL VOC folder -> Annotations: Annotations/*.xml, JPEGImages/, ImageSets/Main/<split>.txt.

Coordinates are taken as written: the box goes from (xmin, ymin) to (xmax, ymax), with no -1 and no +1. PASCAL itself
counted pixels from 1 and included the last one, but nearly all tools that write this format today write corners from 0.
On PASCAL's own data boxes are thereby half a pixel too far right and down, and a pixel too small; training and
evaluation read them alike.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations, assemble
from cascade_rcnn.data.image_files import image_size
from cascade_rcnn.errors import UserError
from cascade_rcnn.images import EXTENSIONS

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Object(NamedTuple):
    name: str
    corners: tuple[float, ...]
    difficult: bool


class _Record(NamedTuple):
    file_name: str
    size: tuple[int, int] | None  # height and width, where the file holds them
    objects: list[_Object]


def load_voc(
    root: Path, split: str | None = None, *, images_dir: Path | None = None, classes: Sequence[str] | None = None
) -> Annotations:
    """Read one split, or all xml files of a folder that has no splits.

    Classes are those of all xml files of the folder, sorted by name, so that every split has the same ones; `classes`
    fixes them and their order instead. Category ids are 1..M, `difficult` objects are ignored regions.
    Raises UserError naming the file and object that cannot be read, or the splits there are.
    """
    files = {path.stem: path for path in sorted((root / "Annotations").glob("*.xml"))}
    names = _split_names(root, split) if split is not None else _all_names(root, files)
    if missing := [name for name in names if name not in files]:
        raise UserError(
            f"{root}: {len(missing)} of {len(names)} images of split {split} have no xml file (first: {missing[0]}); "
            "add it to Annotations or take the name out of ImageSets/Main"
        )
    if classes is None:
        records = {stem: _read(path) for stem, path in files.items()}
        classes = sorted({item.name for record in records.values() for item in record.objects})
    else:
        records = {name: _read(files[name]) for name in names}
    label = {name: i + 1 for i, name in enumerate(classes)}
    for name in names:
        if unknown := [item.name for item in records[name].objects if item.name not in label]:
            raise UserError(f"{files[name]}: class {unknown[0]!r} is not among {', '.join(classes)}; add or rename it")
    if images_dir is None:
        images_dir = next((root / n for n in ("JPEGImages", "images") if (root / n).is_dir()), root / "JPEGImages")
    source = root if split is None else root / "ImageSets" / "Main" / f"{split}.txt"
    return _columns(source, images_dir, label, {name: records[name] for name in names})


def _columns(source: Path, images_dir: Path, label: dict[str, int], records: dict[str, _Record]) -> Annotations:
    files = images_dir.iterdir() if images_dir.is_dir() else ()
    present = {path.stem: path.name for path in files if path.suffix.lower() in EXTENSIONS}
    # Many tools write a wrong <filename>: an image of the xml file's own name comes first.
    file_names = [present.get(stem, record.file_name or f"{stem}.jpg") for stem, record in records.items()]
    sizes = [
        record.size or image_size(images_dir / file_name)
        for record, file_name in zip(records.values(), file_names, strict=True)
    ]
    unsized = sum(record.size is None for record in records.values())
    objects = [(i, item) for i, record in enumerate(records.values()) for item in record.objects]
    corners = np.array([item.corners for _, item in objects], np.float64).reshape(-1, 4)
    boxes = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1)
    return assemble(
        source=source,
        images_dir=images_dir,
        categories=[Category(id=i, name=name) for name, i in label.items()],
        image_ids=np.arange(1, len(records) + 1),
        image_sizes=np.array(sizes, np.int32),
        file_names=file_names,
        box_images=np.array([i for i, _ in objects], np.int64),
        boxes=boxes,
        areas=boxes[:, 2] * boxes[:, 3],
        labels=np.array([label[item.name] for _, item in objects], np.int32),
        ignore=np.array([item.difficult for _, item in objects], np.bool_),
        ids=np.arange(1, len(objects) + 1),
        notes=[f"{unsized} xml files give no image size; it is taken from the images"] if unsized else (),
    )


def _split_names(root: Path, split: str) -> list[str]:
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    try:
        return [
            line.strip()
            for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            if line.strip()
        ]
    except FileNotFoundError:
        raise UserError(f"{root}: there is no split {split!r}; it has {_splits(root)}") from None


def _all_names(root: Path, files: dict[str, Path]) -> list[str]:
    if (splits := _splits(root)) != "none":
        raise UserError(f"{root}: which split? Give one of {splits} (--split, --data.train-split, --data.val-split)")
    return list(files)


def _splits(root: Path) -> str:
    names = sorted(path.stem for path in (root / "ImageSets" / "Main").glob("*.txt"))
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none"


def _read(path: Path) -> _Record:
    try:
        tree: Element = defusedxml.ElementTree.fromstring(path.read_bytes())
    except (ParseError, DefusedXmlException, OSError, ValueError) as error:
        raise UserError(f"{path}: this xml file does not parse ({error}); write it again or remove it") from None
    size = tuple(round(_number(path, "size", tree.findtext(f"size/{name}") or "0")) for name in ("height", "width"))
    return _Record(
        file_name=(tree.findtext("filename") or "").strip(),
        size=(size[0], size[1]) if min(size) > 0 else None,
        objects=[_read_object(path, i, item) for i, item in enumerate(tree.findall("object"))],
    )


def _read_object(path: Path, i: int, item: Element) -> _Object:
    name = (item.findtext("name") or "").strip()
    if not name:
        raise UserError(f"{path}: object {i} has no name; give its class")
    corners = tuple(_number(path, f"object {i}, {key}", item.findtext(f"bndbox/{key}")) for key in _CORNERS)
    return _Object(name, corners, (item.findtext("difficult") or "0").strip() == "1")


def _number(path: Path, where: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{path}: {where} is {text!r}; write a number")
    return value
