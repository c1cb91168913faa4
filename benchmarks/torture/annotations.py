"""Damaged annotation files; what a reader accepts is compared with what a plain parser finds in the same bytes.

A reader may leave out or renumber what it cannot use, but must say so (`Annotations.notes`). Every box that it returns
must be in the file, with the same class, position and image.
"""

import contextlib
import copy
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import yaml

from benchmarks.torture.areas import Case
from benchmarks.torture.mutations import Random, mutate_bytes, mutate_tree, one
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.errors import UserError

_NAMES = ("cat", "dog", "bird")
_SIZES = ((40, 30), (24, 36), (32, 32))  # width, height
_BOXES = ((2.0, 3.0, 10.0, 12.5), (5.0, 1.0, 8.0, 20.0), (0.0, 0.0, 16.0, 16.0), (7.5, 6.0, 9.0, 4.0))


class _Box(NamedTuple):
    image: str  # the file's name without its folder
    category: str
    xywh: tuple[float, ...]


def _image_name(i: int) -> str:
    return f"{'abc'[i]}.png"


def _truth() -> Iterator[tuple[int, int, tuple[float, ...]]]:
    """Return the image index, class index and box of every object."""
    return ((i, (i + k) % len(_NAMES), box) for i in range(len(_SIZES)) for k, box in enumerate(_BOXES[: 2 + i]))


def write_images(folder: Path) -> None:
    """Write three small images."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, size in enumerate(_SIZES):
        PIL.Image.new("RGB", size, (40 * i, 90, 200)).save(folder / _image_name(i))


def wrong(found: Annotations, expected: Counter[_Box], expected_images: int) -> str | None:
    """Describe what in `found` is not in the file, or was left out without a note; None if nothing is wrong."""
    got = _boxes(found)
    if extra := got - expected:
        return f"{next(iter(extra))} is not in the file"
    if (missing := expected - got) and not found.notes:
        return f"{next(iter(missing))} was left out without a note"
    if len(found) < expected_images and not found.notes:
        return f"{len(found)} of {expected_images} images, without a note"
    if not bool((found.image_sizes > 0).all()):
        return "an image without size"
    return None


def _boxes(found: Annotations) -> Counter[_Box]:
    rows = []
    for i in range(len(found)):
        where = found.rows(i)
        name = _key(found.file_names[i])
        for label, box in zip(found.labels[where].tolist(), found.boxes[where].tolist(), strict=True):
            rows.append(_Box(name, found.categories[label - 1].name, _round(box)))
    return Counter(rows)


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/").rpartition("/")[2])


def _round(box: Any) -> tuple[float, ...]:
    """Round to just enough digits to tell boxes apart, as fractions are multiplied in different orders."""
    return tuple(float(f"{value:.6g}") + 0.0 for value in box)


def coco_example() -> dict[str, Any]:
    """Return the content of a COCO file for the images."""
    return {
        "info": {"year": 2024},
        "images": [
            {"id": 10 + i, "file_name": _image_name(i), "width": w, "height": h} for i, (w, h) in enumerate(_SIZES)
        ],
        "annotations": [
            {"id": n, "image_id": 10 + i, "category_id": 1 + c, "bbox": list(box), "area": 50.0, "iscrowd": 0}
            for n, (i, c, box) in enumerate(_truth(), start=1)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(_NAMES, start=1)],
    }


class Coco:
    """A COCO JSON file."""

    name = "annotations: COCO"

    def prepare(self, folder: Path) -> None:
        """Write three images and prepare a file for them."""
        write_images(folder)
        self.good = coco_example()

    def case(self, random: Random, folder: Path) -> Case:
        """Change a value or bytes of the file."""
        if random.random() < 0.6:
            what, tree = mutate_tree(random, self.good)
            data = json.dumps(tree).encode()
        else:
            what, data = mutate_bytes(random, json.dumps(self.good, indent=1).encode())
        path = folder / "case.json"
        path.write_bytes(data)

        def run() -> str | None:
            found = load_annotations(path)
            try:
                tree = json.loads(data.decode("utf-8-sig", "replace"))  # unused text may have any encoding
                return wrong(found, *coco_boxes(tree))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                return f"accepted, but a plain reader finds {type(error).__name__}: {error}"

        return what, run


def coco_boxes(tree: dict[str, Any]) -> tuple[Counter[_Box], int]:
    """Return what a plain parser finds: the usable boxes, and the number of images."""
    names = {_number(entry["id"]): entry["name"] for entry in tree["categories"]}
    files: dict[Any, set[str]] = {}
    for entry in tree["images"]:
        files.setdefault(_number(entry.get("id")), set()).add(_key(str(entry.get("file_name"))))
    boxes: Counter[_Box] = Counter()
    for entry in tree.get("annotations", ()):  # a test set has none
        with contextlib.suppress(
            ValueError, KeyError, TypeError, AttributeError
        ):  # unusable, so it must be left out or refused
            box = _round([_real(value) for value in entry["bbox"]])
            category = names[_number(entry["category_id"])]
            boxes.update(_Box(name, category, box) for name in files[_number(entry["image_id"])])
    return boxes, len(tree["images"])


def _number(value: Any) -> Any:
    """Convert ids as people write them: 1, 1.0, "1"."""
    with contextlib.suppress(TypeError, ValueError):
        if float(value).is_integer():
            return int(value) if isinstance(value, int) else int(float(value))
    return value


def _real(value: Any) -> float:
    if not math.isfinite(float(value)):
        raise ValueError(value)
    return float(value)


class Voc:
    """An XML file in a VOC folder."""

    name = "annotations: VOC"

    def prepare(self, folder: Path) -> None:
        """Write three images, each with an XML file."""
        write_images(folder / "JPEGImages")
        (folder / "Annotations").mkdir(exist_ok=True)
        self.good = []
        for i, (width, height) in enumerate(_SIZES):
            objects = "".join(
                f"<object><name>{_NAMES[c]}</name><difficult>0</difficult><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
                f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>\n"
                for image, c, (x, y, w, h) in _truth()
                if image == i
            )
            self.good.append(
                f'<?xml version="1.0" encoding="utf-8"?>\n<annotation><filename>{_image_name(i)}</filename>\n'
                f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n{objects}</annotation>\n"
            )
            self._path(folder, i).write_text(self.good[i])

    @staticmethod
    def _path(folder: Path, i: int) -> Path:
        return (folder / "Annotations" / _image_name(i)).with_suffix(".xml")

    def case(self, random: Random, folder: Path) -> Case:
        """Damage one of the files."""
        i = int(random.integers(len(self.good)))
        what, data = self._damaged(random, self.good[i])
        texts = [text.encode() for text in self.good]
        texts[i] = data

        def run() -> str | None:
            self._path(folder, i).write_bytes(data)
            try:
                found = load_annotations(folder, classes=None)
            finally:
                self._path(folder, i).write_text(self.good[i])
            try:
                expected = sum((_voc_boxes(_image_name(k), text) for k, text in enumerate(texts)), Counter[_Box]())
                return wrong(found, expected, len(texts))
            except (ValueError, ElementTree.ParseError, LookupError) as error:
                return f"accepted, but a plain reader finds {type(error).__name__}: {error}"

        return what, run

    @staticmethod
    def _damaged(random: Random, text: str) -> tuple[str, bytes]:
        if random.random() < 0.5:
            return mutate_bytes(random, text.encode())
        tree = ElementTree.fromstring(text.partition("\n")[2])
        element = one(random, list(tree.iter()))
        odd = one(random, ("", "0", "-1", "nan", "inf", "1e300", "1.5", " 7 ", "x", "[/red]", "\x1b[1m", "a\nb", "1,5"))
        match one(random, ("text", "text", "tag", "drop", "twice", "encoding")):
            case "text":
                element.text = odd
                what = f"{element.tag} = {odd!r}"
            case "tag":
                what, element.tag = f"{element.tag} renamed", "other"
            case "drop":
                for parent in tree.iter():
                    if element in list(parent):
                        parent.remove(element)
                what = f"{element.tag} dropped"
            case "twice":
                tree.append(copy.deepcopy(element))  # may be the root
                what = f"{element.tag} twice"
            case _:
                code = one(random, ("utf-16", "latin-1", "utf-7", "nonsense", "ebcdic-cp-be"))
                return f"encoding {code}", text.replace("utf-8", code).encode()
        return what, ElementTree.tostring(tree)


def _voc_boxes(image: str, data: bytes) -> Counter[_Box]:
    tree = ElementTree.fromstring(data)
    boxes = []
    for item in tree.findall("object"):
        x1, y1, x2, y2 = (_real(item.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
        boxes.append(_Box(image, (item.findtext("name") or "").strip(), _round((x1, y1, x2 - x1, y2 - y1))))
    return Counter(boxes)


class Yolo:
    """The data.yaml or a label file in a YOLO folder."""

    name = "annotations: YOLO"

    def prepare(self, folder: Path) -> None:
        """Write three images, their label files, and data.yaml."""
        write_images(folder / "images" / "train")
        (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
        names = "".join(f"  {i}: {name}\n" for i, name in enumerate(_NAMES))
        self.good = {folder / "data.yaml": f"path: .\ntrain: images/train\nval: images/train\nnames:\n{names}"}
        for i, (width, height) in enumerate(_SIZES):
            rows = (
                f"{c} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} {w / width:.6f} {h / height:.6f}\n"
                for image, c, (x, y, w, h) in _truth()
                if image == i
            )
            self.good[_label_path(folder, i)] = "".join(rows)
        for path, text in self.good.items():
            path.write_text(text)

    def case(self, random: Random, folder: Path) -> Case:
        """Damage one of the files."""
        path = one(random, list(self.good))
        what, data = mutate_bytes(random, self.good[path].encode())

        def run() -> str | None:
            path.write_bytes(data)
            try:
                found = load_annotations(folder / "data.yaml", split="train")
                return _yolo_wrong(found, folder)
            finally:
                path.write_text(self.good[path])

        return f"{path.name} {what}", run


def _label_path(folder: Path, i: int) -> Path:
    return (folder / "labels" / "train" / _image_name(i)).with_suffix(".txt")


def _yolo_wrong(found: Annotations, folder: Path) -> str | None:
    try:
        config = yaml.safe_load((folder / "data.yaml").read_text("utf-8-sig"))
        names = config["names"]
        names = dict(enumerate(names)) if isinstance(names, list) else {int(key): name for key, name in names.items()}
        boxes = sum((_yolo_boxes(folder, i, names) for i in range(len(_SIZES))), Counter[_Box]())
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        return f"accepted, but a plain reader finds {type(error).__name__}: {error}"
    return wrong(found, boxes, len(_SIZES))


def _yolo_boxes(folder: Path, i: int, names: dict[int, Any]) -> Counter[_Box]:
    size = np.array(_SIZES[i] * 2, np.float64)
    boxes = []
    for line in _label_path(folder, i).read_bytes().decode("utf-8-sig").splitlines():
        if not line.strip():
            continue
        category, *values = map(_real, line.split())
        if len(values) > 4:  # a polygon
            xs, ys = values[0::2], values[1::2]
            x, y, w, h = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
        else:
            cx, cy, w, h = values
            x, y = cx - w / 2, cy - h / 2
        if category not in names:
            raise UserError(f"class {category}")
        boxes.append(_Box(_image_name(i), str(names[int(category)]), _round(np.array((x, y, w, h)) * size)))
    return Counter(boxes)
