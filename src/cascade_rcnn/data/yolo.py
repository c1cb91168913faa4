"""YOLO folder -> Annotations: data.yaml, images/..., and labels/... that mirror them.

data.yaml names the splits (folders of images, or text files listing them) and the classes. A label file has one row a
box: `class cx cy w h`, or `class x1 y1 x2 y2 ...` for a polygon, of which the bounding box is taken; all in fractions
of the image's width and height. An image without a label file is background.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations, assemble
from cascade_rcnn.data.image_files import image_size, list_images
from cascade_rcnn.errors import UserError

_SPLITS = ("train", "val", "test")


class _Row(NamedTuple):
    category: int
    box: tuple[float, float, float, float]  # XYWH in fractions of the image


def load_yolo(data: Path, split: str | None) -> Annotations:
    """Read one split of a data.yaml, or of a folder that holds one. Category ids are the file's class numbers.

    Image sizes come from the headers of the image files. Raises UserError naming the file and line.
    """
    path = _yaml_in(data) if data.is_dir() else data
    config = _read_yaml(path)
    splits = [name for name in _SPLITS if config.get(name)]
    if split is None or not config.get(split):
        what = "which split?" if split is None else f"there is no split {split!r};"
        known = ", ".join(splits) or "none"
        raise UserError(f"{path}: {what} It has {known} (--split, --data.train-split, --data.val-split)")
    root = path.parent / str(config.get("path") or ".")
    root = root if root.is_dir() else path.parent  # `path` often names a folder of the machine that wrote the file
    categories = _categories(path, config.get("names"))
    entries = config[split] if isinstance(config[split], list) else [config[split]]
    images = [image for entry in entries for image in _images(path, root, str(entry))]
    labels = [_label_file(image) for image in images]
    if images and not any(label.exists() for label in labels):
        raise UserError(f"{path}: no image of split {split} has a label file (first: {labels[0]}); check the folders")

    position = {category.id: i for i, category in enumerate(categories)}
    rows = [_read_labels(label, position, has_keypoints="kpt_shape" in config) for label in labels]
    sizes = np.array([image_size(image) for image in images], np.int32).reshape(-1, 2)
    box_images = np.repeat(np.arange(len(images)), [len(found) for found in rows])
    flat = [row for found in rows for row in found]
    boxes = np.array([row.box for row in flat], np.float64).reshape(-1, 4) * sizes[box_images][:, [1, 0, 1, 0]]
    return assemble(
        source=f"{path} ({split})",
        images_dir=root,
        categories=categories,
        image_ids=np.arange(1, len(images) + 1),
        image_sizes=sizes,
        file_names=[str(image.relative_to(root) if image.is_relative_to(root) else image) for image in images],
        box_images=box_images,
        boxes=boxes,
        areas=boxes[:, 2] * boxes[:, 3],
        labels=np.array([position[row.category] + 1 for row in flat], np.int32),
        ignore=np.zeros(len(flat), np.bool_),
        ids=np.arange(1, len(flat) + 1),
    )


def _yaml_in(folder: Path) -> Path:
    for name in ("data.yaml", "data.yml"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder}: there is no data.yaml in it; give the YOLO folder or its yaml file")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: this yaml file cannot be read ({' '.join(str(error).split())}); mend it") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: this yaml file holds no keys; it needs train, val and names")
    return config


def _categories(path: Path, names: object) -> list[Category]:
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(type(key) is int for key in names):
        raise UserError(f"{path}: names is {names!r}; list the class names, or map class numbers to them")
    return [Category(id=key, name=str(names[key])) for key in sorted(names)]


def _images(path: Path, root: Path, entry: str) -> list[Path]:
    # Some exports write ../train/images for a folder that lies beside data.yaml.
    candidates = (root / entry, path.parent / entry, path.parent / entry.removeprefix("../"))
    found = next((candidate for candidate in candidates if candidate.exists()), None)
    if found is None:
        raise UserError(f"{path}: {candidates[0]} does not exist; correct `path` or the split's folder")
    if found.is_dir():
        images = list_images(found)
    else:
        lines = found.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        images = [found.parent / line.strip() for line in lines if line.strip()]
    if not images:
        raise UserError(f"{path}: {found} holds no images; correct `path` or the split's folder")
    return images


def _label_file(image: Path) -> Path:
    """.../images/train/a.jpg -> .../labels/train/a.txt; beside the image where no folder is called images."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _read_labels(path: Path, known: dict[int, int], *, has_keypoints: bool) -> list[_Row]:
    if not path.exists():
        return []
    rows = []
    for i, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if line.strip():
            row = _parse(f"{path}:{i}", line, has_keypoints)
            if row.category not in known:
                raise UserError(f"{path}:{i}: class {row.category} is not among the names of data.yaml; add it there")
            rows.append(row)
    return rows


def _parse(where: str, line: str, has_keypoints: bool) -> _Row:
    try:
        category, *values = [float(text) for text in line.split()]
    except ValueError:
        raise UserError(f"{where}: {line.strip()[:60]!r} is not a row of numbers; write class cx cy w h") from None
    if any(abs(value) > 2 for value in (values[:4] if has_keypoints else values)):
        raise UserError(f"{where}: {line.strip()[:60]!r} looks like pixels; write fractions of the image's size")
    if not category.is_integer():
        raise UserError(f"{where}: the class is {category:g}; write its number from data.yaml")
    if len(values) == 4 or (has_keypoints and len(values) > 4):
        cx, cy, width, height = values[:4]
        return _Row(int(category), (cx - width / 2, cy - height / 2, width, height))
    if len(values) < 6 or len(values) % 2:
        raise UserError(f"{where}: {1 + len(values)} numbers; write class cx cy w h, or class and 3 or more x y pairs")
    xs, ys = values[0::2], values[1::2]
    return _Row(int(category), (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)))
