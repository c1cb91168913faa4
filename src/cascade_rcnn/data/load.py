"""A path on the command line -> Annotations, whatever the format."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.coco import load_coco
from cascade_rcnn.data.voc import load_voc
from cascade_rcnn.data.yolo import load_yolo
from cascade_rcnn.errors import UserError


def load_annotations(
    annotations: str | Path,
    images: str | Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
) -> Annotations:
    """Read ground truth and recognise its format by the path.

    - COCO: a .json file; `images` defaults to its folder, or the folder `images` beside it.
    - PASCAL VOC: a folder with Annotations/, and a split of its ImageSets/Main; or that split's .txt file.
    - YOLO: a data.yaml or a folder holding one, and a split of it.

    `classes` names the classes where the format does not (VOC; default: those that its files mention).
    Raises UserError where the path is none of these or holds something wrong.
    """
    path = Path(annotations).expanduser()
    images_dir = None if images is None else Path(images).expanduser()
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check the path of the annotations")
    if images_dir is not None and not images_dir.is_dir():
        raise UserError(f"{images_dir}: no such folder; check the path of the images")

    if path.suffix == ".json":
        if split is not None:
            raise UserError(f"{path}: a COCO file is one split; leave out the split {split!r}")
        return _load_coco(path, images_dir)
    if path.suffix == ".txt" and path.absolute().parts[-3:-1] == ("ImageSets", "Main"):
        if split not in (None, path.stem):
            raise UserError(f"{path}: this file is the split {path.stem!r}; leave out the split {split!r}")
        return load_voc(path.absolute().parents[2], path.stem, images_dir=images_dir, classes=classes)
    if (path / "Annotations").is_dir():
        return load_voc(path, split, images_dir=images_dir, classes=classes)
    if path.suffix in (".yaml", ".yml") or any((path / name).is_file() for name in ("data.yaml", "data.yml")):
        if images_dir is not None:
            raise UserError(f"{path}: a YOLO data.yaml names its own image folders; leave out {images_dir}")
        return load_yolo(path, split)
    raise UserError(
        f"{path}: not one of the three known forms; give a COCO .json file, a PASCAL VOC folder with Annotations/ "
        "(or its ImageSets/Main/<split>.txt), or a YOLO data.yaml (or its folder)"
    )


def check_same_categories(train: Annotations, val: Annotations) -> None:
    """Raise UserError naming the classes that only one of the two has, by id and name."""
    if train.categories == val.categories:
        return
    lines = []
    for one, other in ((train, val), (val, train)):
        only = [f"{c.id} {c.name!r}" for c in one.categories if c not in other.categories]
        if only:
            lines.append(f"only {one.source} has {', '.join(only[:5])}" + (", ..." if len(only) > 5 else ""))
    raise UserError(f"training and validation classes differ: {'; '.join(lines)}; give both the same categories")


def _load_coco(path: Path, images_dir: Path | None) -> Annotations:
    annotations = load_coco(path, images_dir or path.parent)
    beside = path.parent / "images"
    if images_dir is None and beside.is_dir() and not annotations.path(0).exists():
        return dataclasses.replace(annotations, images_dir=beside)
    return annotations
