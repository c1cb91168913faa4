"""Load annotations in any supported format; formats are recognised here and nowhere else."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from cascade_rcnn.arguments import as_path
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.data.coco import load_coco
from cascade_rcnn.data.coco_folder import coco_files
from cascade_rcnn.data.foreign import advice_on
from cascade_rcnn.data.splits import choose, distinct, for_training, rank, splits_of
from cascade_rcnn.data.voc import DEPTHS, PARTS, load_voc, root_of, voc_splits, xml_files, xml_folder
from cascade_rcnn.data.yolo import load_yolo
from cascade_rcnn.data.yolo_config import find_config, is_yolo_folder, read_config
from cascade_rcnn.data.yolo_folder import split_folders
from cascade_rcnn.errors import UserError

_DEEPEST = 3  # levels of folders above a dataset
_Format: TypeAlias = Literal["coco", "coco folder", "voc", "voc list", "yolo"]


def check_only_of_files(data: object, **places: object) -> None:
    """Raise UserError if `images` or `split`, which say where a file's images are, are given for anything else."""
    given = [name for name, place in places.items() if place is not None]
    if given and not isinstance(data, str | Path):
        what = f"{' and '.join(given)} can only be given with the path of an annotation file"
        raise UserError(f"{what}; omit {'it' if len(given) == 1 else 'them'}")


def load_annotations(
    annotations: str | Path,
    images: str | Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    *,
    masks: bool = False,
    bad_images: BadImages = "stop",
) -> Annotations:
    """Load annotations; their format is detected from the path.

    - COCO: a .json file, or a folder of them and a split (Roboflow's train/_annotations.coco.json, COCO's and CVAT's
      annotations/instances_train.json, train.json); `images` defaults to where these tools put images.
    - PASCAL VOC: a folder with Annotations/, and a split of its ImageSets/Main; that split's .txt file; or a folder of
      images with their xml files beside them, with or without folders for the splits.
    - YOLO: a data.yaml or obj.data, or a folder with or without one, and a split of it.

    `classes` names the classes of the training set. They are those of this split, too, if its format does not name
    them (VOC; default: those found in its files), and may include Roboflow's class for grouping, which is otherwise
    left out where no box has it. With `masks`, `segmentations` holds the objects' polygons and run lengths (COCO),
    polygons (YOLO), or masks from SegmentationObject (VOC). Image sizes that are not annotated are read from the
    images; if an image cannot be read, `bad_images` decides whether to raise UserError ("stop"), or to skip it or keep
    it with a size of 0 x 0.
    Raises UserError if the path is none of these, or for invalid content.

    >>> len(load_annotations("shapes/train.json")), len(load_annotations("shapes", split="val"))
    (6, 4)
    """
    path = as_path("annotations", annotations).expanduser()
    images_dir = None if images is None else as_path("images", images).expanduser()
    if images_dir is not None and not images_dir.is_dir():
        raise UserError(f"{images_dir}: no such folder; check the path of the images")
    match _recognise(path):
        case "coco":
            if split is not None:
                raise UserError(f"{path}: a COCO file is a single split; omit the split {split!r}")
            return load_coco(path, images_dir, classes=classes, masks=masks, bad_images=bad_images)
        case "coco folder":
            files = coco_files(path)
            path = files[choose(path, list(files), split)]
            return load_coco(path, images_dir, classes=classes, masks=masks, bad_images=bad_images)
        case "voc list":
            if split not in (None, path.stem):
                raise UserError(f"{path}: this file is the split {path.stem!r}; omit the split {split!r}")
            path, split = root_of(path) or path, path.stem
            return load_voc(path, split, images_dir=images_dir, classes=classes, masks=masks, bad_images=bad_images)
        case "voc":
            return load_voc(path, split, images_dir=images_dir, classes=classes, masks=masks, bad_images=bad_images)
        case "yolo":
            if images_dir is not None:
                raise UserError(f"{path}: a YOLO dataset names its own image folders; omit the folder {images_dir}")
            return load_yolo(path, split, classes=classes, masks=masks, bad_images=bad_images)


def is_one_split(annotations: str | Path) -> bool:
    """Return whether a path is a single annotation file, rather than a dataset with splits."""
    path = Path(annotations).expanduser()
    return _recognise(path) in ("coco", "voc list")


def training_splits(folder: str | Path) -> tuple[str | None, str | None]:
    """Return the training and validation splits of a folder (or data.yaml); None where there is none.

    Raises UserError if it is not a known dataset format, or the splits are ambiguous.
    """
    path = Path(folder).expanduser()
    if is_one_split(path):
        raise UserError(f"{path}: is a single split; give it as --data.train, and another as --data.val")
    splits = _splits(path)
    return for_training(path, splits) if splits else (None, None)


def dataset_splits(folder: str | Path) -> list[str]:
    """Return the splits of a folder (or data.yaml), the training set first; an empty list if it has none.

    Splits whose images are in others, such as VOC's trainval, are left out.

    Raises UserError if it is not a known dataset format.
    """
    path = Path(folder).expanduser()
    found = _splits(path)
    return sorted(distinct(found) if _recognise(path) == "voc" else found, key=rank)


def _splits(path: Path) -> list[str]:
    match _recognise(path):
        case "coco folder":
            return list(coco_files(path))
        case "voc":
            return voc_splits(path)
        case "yolo":
            return list(read_config(path).splits)
        case _:
            return []


def _recognise(path: Path) -> _Format:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check the path of the annotations")
    found = _format(path)
    if found in ("voc", "yolo") and (inner := _divided_below(path, found)) and _is_undivided(path, found):
        raise UserError(f"{path}: a folder below it has several splits, which would be read as one; give {inner}")
    if found is not None:
        return found
    if path.is_dir():
        folders = (inner for depth in DEPTHS for inner in sorted(path.glob(depth)) if inner.is_dir())
        if (inner := next((folder for folder in folders if _format(folder)), None)) is not None:
            raise UserError(f"{path}: the dataset is in a folder below it; give {inner}")
    if (said := advice_on(path)) is not None:
        raise UserError(f"{path}: {said}")
    raise UserError(
        f"{path}: not one of the supported formats; give a COCO .json file (or a folder of them), a PASCAL VOC folder "
        "with Annotations/ (or its ImageSets/Main/<split>.txt, or xml files beside images), or a YOLO data.yaml (or "
        "its folder)"
    )


def _format(path: Path) -> _Format | None:
    if not path.is_dir():
        if path.suffix.lower() == ".json":
            return "coco"
        if path.suffix.lower() in (".yaml", ".yml", ".data"):
            return "yolo"
        if root_of(path) is not None:
            return "voc list"
    elif (path / "Annotations").is_dir() and xml_files(path):
        return "voc"
    elif find_config(path) is not None:
        return "yolo"
    elif coco_files(path):
        return "coco folder"
    elif xml_files(path):
        return "voc"
    elif is_yolo_folder(path):
        return "yolo"
    return None


def _is_undivided(folder: Path, found: _Format) -> bool:
    """Return whether everything below a folder is read as one dataset without splits."""
    if found == "voc":
        return xml_folder(folder) == folder and not voc_splits(folder)
    return find_config(folder) is None and list(split_folders(folder).values()) == [folder]


def _divided_below(path: Path, wanted: _Format) -> Path | None:
    """Return a dataset of this format up to three levels below a folder that is divided into folders of splits."""
    folders = [path] if path.is_dir() else []
    for _ in range(_DEEPEST):
        folders = [inner for folder in folders for inner in _subfolders(folder)]
        for folder in folders:
            if len(splits_of(inner.name for inner in _subfolders(folder))) > 1:
                own = folder.parent if folder.name.lower() in PARTS and folder.parent != path else folder
                if _format(own) == wanted:
                    return own
    return None


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry) for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def check_same_categories(train: Annotations, val: Annotations) -> None:
    """Raise UserError naming the classes, by id and name, that are in only one of the two."""
    if train.categories == val.categories:
        return
    lines, advice = [], "give both the same categories"
    for one, other in ((train, val), (val, train)):
        only = [f"{c.id} {c.name!r}" for c in one.categories if c not in other.categories]
        if grouping := [f"{c.id} {c.name!r}" for c in one.categories if c in other.unused]:
            only = [f"boxes of {grouping[0]}, which groups the others", *(name for name in only if name != grouping[0])]
            advice = "load both with the same classes"
        if only:
            lines.append(f"only {one.source} has {', '.join(only[:5])}" + (", ..." if len(only) > 5 else ""))
    raise UserError(f"training and validation classes differ: {'; '.join(lines)}; {advice}")
