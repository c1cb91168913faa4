"""The description of a YOLO dataset: its data.yaml, its obj.data, or what its folders alone say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cascade_rcnn.data.image_files import is_image, walk
from cascade_rcnn.data.names import find_folder, parts_of
from cascade_rcnn.data.yolo_folder import class_names, label_folders, read_names, split_folders
from cascade_rcnn.errors import UserError
from cascade_rcnn.text_files import read_lines, read_text

_SPLITS = ("train", "val", "valid", "validation", "test")
_YAML = (".yaml", ".yml")
_MOST_CLASSES = 100_000  # any larger number is a mistake


@dataclass(frozen=True)
class YoloConfig:
    """The description of a YOLO dataset, with paths on this machine."""

    path: Path  # for messages
    root: Path
    splits: Mapping[str, list[Path]]  # folders of images, or files that list them
    names: Mapping[int, str] | None  # None: no file names the classes
    keypoints: int = 0  # numbers in a row after those of the box
    notes: tuple[str, ...] = ()


def find_config(folder: Path) -> Path | None:
    """Find the yaml (or Darknet's .data) file that describes the dataset in a folder, if there is one.

    Raises UserError if there are several, of which none has the usual name.
    """
    for name in ("data.yaml", "data.yml", "dataset.yaml", "obj.data"):
        if (folder / name).is_file():
            return folder / name
    files = [path for path in sorted(folder.glob("[!.]*.y*ml")) if path.suffix in _YAML and path.is_file()]
    found = [path for path in files if _describes(path)]
    if len(found) > 1:
        raise UserError(f"{folder}: both {found[0].name} and {found[1].name} describe a YOLO dataset; give one of them")
    return found[0] if found else None


def _describes(path: Path) -> bool:
    try:
        config = _read_yaml(path)
    except UserError:
        return False
    return "names" in config and bool(_split_entries(config))


def is_yolo_folder(folder: Path) -> bool:
    """Return whether a folder contains a YOLO dataset: a description, or images with label files."""
    if find_config(folder) is not None:
        return True
    files = [path for split in split_folders(folder).values() for path in walk(split)]
    texts = {path.with_suffix("") for path in files if path.suffix == ".txt"}
    beside = any(path.with_suffix("") in texts for path in files if is_image(path))
    return beside or any(path.suffix == ".txt" for labels in label_folders(folder) for path in walk(labels))


def read_config(data: Path) -> YoloConfig:
    """Read a data.yaml, an obj.data, or a folder with one or neither.

    Raises UserError for an unreadable file, or a folder without images.
    """
    path = find_config(data) if data.is_dir() else data
    if path is None:
        return _from_folder(data)
    return _from_darknet(path) if path.suffix == ".data" else _from_yaml(path)


def _from_yaml(path: Path) -> YoloConfig:
    config = _read_yaml(path)
    root = path.parent / str(config.get("path") or ".")
    if not root.is_dir():  # `path` often refers to the machine or working folder where the file was written
        root = find_folder(str(config["path"]), [path.parent]) or path.parent
    splits = _found(path, root, {k: v if isinstance(v, list) else [v] for k, v in _split_entries(config).items()})
    if not splits:  # a file of the classes alone
        splits = {name: [place] for name, place in split_folders(root).items() if any(map(is_image, walk(place)))}
    names, notes = _classes(path, config)
    return YoloConfig(path, root, splits, names, _keypoints(path, config.get("kpt_shape")), notes)


def _split_entries(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of the splits, the training set first; CVAT's subsets are named Train and Validation."""
    found = {key: value for key, value in config.items() if key.lower() in _SPLITS and value}
    return dict(sorted(found.items(), key=lambda entry: _SPLITS.index(entry[0].lower())))


def _from_darknet(path: Path) -> YoloConfig:
    """Parse lines `key = value`: train, valid (list files) and names (a file with one class name per line)."""
    pairs = (line.partition("=") for line in read_lines(path) if "=" in line)
    config = {key.strip(): value.strip() for key, _, value in pairs}
    splits = _found(path, path.parent, {split: [config[split]] for split in _SPLITS if config.get(split)})
    named = find_folder(config.get("names", ""), [path.parent])
    names = None if named is None or not named.is_file() else read_names(named)
    notes = () if names is None else _other_number("classes", config.get("classes"), names)
    return YoloConfig(path, path.parent, splits, names, notes=notes)


def _from_folder(folder: Path) -> YoloConfig:
    names, notes = class_names(folder)
    splits = {name: [path] for name, path in split_folders(folder).items()}
    return YoloConfig(folder, folder, splits, names, notes=notes)


def _found(path: Path, root: Path, entries: Mapping[str, list[Any]]) -> dict[str, list[Path]]:
    """Find the folders and list files of the splits; a missing one is only reported when its split is requested."""
    found: dict[str, list[Path]] = {}
    meant: dict[Path, str] = {}
    for split, named in entries.items():
        for entry in map(str, named):
            place = find_folder(entry, [root, path.parent]) or root / entry
            first = meant.setdefault(place, entry)
            if parts_of(first)[-2:] != parts_of(entry)[-2:]:  # train/images and valid/images share their last part
                raise UserError(f"{path}: {first} and {entry} are both found at {place}; correct `path`")
            found.setdefault(split, []).append(place)
    return found


class _PlainLoader(yaml.BaseLoader):
    """A YAML loader that keeps every value as text (a class may be named `no`) and refuses aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # a few lines of aliases can expand to billions of nodes
            raise yaml.YAMLError("it has aliases (*name); write out their values")
        return super().compose_node(parent, index)


def _read_yaml(path: Path) -> dict[str, Any]:
    text = read_text(path)
    try:
        config = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise UserError(f"{path}: cannot read this yaml file ({reason}); fix it") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: this yaml file has no keys; it needs train, val and names")
    return config


def _classes(path: Path, config: Mapping[str, Any]) -> tuple[Mapping[int, str], tuple[str, ...]]:
    """Return the names of the classes, by default those in classes.txt or ultralytics' for their number, with notes."""
    number = config.get("nc")
    if given := config.get("names"):
        names = _names(path, given)
        return names, _other_number("nc", number, names)
    names, notes = class_names(path.parent)
    if names is not None:
        return names, (*notes, *_other_number("nc", number, names))
    text = str(number)
    if not (text.isdecimal() and 0 < int(text) <= _MOST_CLASSES):
        return _names(path, None), ()
    notes = (f"{path.name} names no classes, so they are called class_0 and so on; add their names",)
    return {k: f"class_{k}" for k in range(int(text))}, notes


def _names(path: Path, names: object) -> dict[int, str]:
    if isinstance(names, list):
        names = dict(enumerate(names))
    try:
        if isinstance(names, dict) and all(isinstance(name, str) for name in names.values()):
            return {int(key): name for key, name in names.items()}
    except ValueError:
        pass
    given = "there are no names" if names is None else f"names is {repr(names)[:80]}"
    raise UserError(f"{path}: {given}; list the class names (names: [car, dog]), or map class numbers to them")


def _keypoints(path: Path, shape: object) -> int:
    """Return how many numbers the keypoints of an object have: `shape` is their number, and 2 (x, y) or 3."""
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(str(number).isdecimal() for number in shape):
        raise UserError(f"{path}: kpt_shape is {shape!r}; write the number of keypoints, and 2 or 3")
    return int(shape[0]) * int(shape[1])


def _other_number(key: str, number: object, names: Mapping[int, str]) -> tuple[str, ...]:
    """Return a note if the file gives another number of classes than it names."""
    if number is None or str(number).strip() == str(len(names)):
        return ()
    return (f"{key} is {number}, but the number of classes named is {len(names)}; the names are used",)
