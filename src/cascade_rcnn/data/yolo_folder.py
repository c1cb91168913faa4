"""Splits, label files and class names of a YOLO dataset as its folders alone tell, without a data.yaml."""

from pathlib import Path

import msgspec

from cascade_rcnn.data.splits import is_split
from cascade_rcnn.errors import UserError
from cascade_rcnn.text_files import lines_of, read_text, read_utf8

_NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")


def split_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of the splits: those in images/ or in the folder itself, or else all of it as one split."""
    top = next(iter(_called("images", folder)), folder)
    found = {path.name: path for path in sorted(top.glob("[!.]*")) if path.is_dir() and is_split(path.name)}
    return found or {"all": top}


def label_folders(folder: Path) -> list[Path]:
    """Return the folders of label files, labels/ of the dataset and of its splits."""
    return [path for place in (folder, *split_folders(folder).values()) for path in _called("labels", place)]


def _called(name: str, folder: Path) -> list[Path]:
    """Return the subfolders of this name in any case, as on Windows; first the one in lower case."""
    found = (path for path in folder.glob("*") if path.name.lower() == name and path.is_dir())
    return sorted(found, reverse=True)


def class_names(folder: Path) -> tuple[dict[int, str] | None, tuple[str, ...]]:
    """Return the class names by their numbers in label files, None if no file has them; with notes.

    Raises UserError if the splits have different ones.
    """
    named = _named(folder)
    if named is None:
        return None, ()
    names, numbers = read_names(named), _read_numbers(named.with_name("notes.json"))
    if not numbers or numbers == names:
        return names, ()
    note = f"{named.name} has the classes in another order than Label Studio's notes.json, whose numbers are used"
    return numbers, (note,)


def _named(folder: Path) -> Path | None:
    """Return the file that names the classes: in the folder, or else with the images or (labelImg) the labels."""
    splits = split_folders(folder)
    inner = [place for labels in label_folders(folder) for place in (labels, *(labels / name for name in splits))]
    for places in ([folder], [*splits.values(), *inner]):
        files = ([path for name in _NAME_FILES if (path := place / name).is_file()] for place in places)
        found = [first for first, *_ in filter(None, files)]
        if other := next((path for path in found[1:] if read_names(path) != read_names(found[0])), None):
            raise UserError(f"{folder}: {found[0]} and {other} name other classes; put the right file into {folder}")
        if found:
            return found[0]
    return None


def read_names(path: Path) -> dict[int, str]:
    """Read a file with a class name in each line; labels are line numbers, so that only trailing empty lines go."""
    return dict(enumerate(line.strip() for line in lines_of(read_text(path).rstrip())))


class _Class(msgspec.Struct):
    id: int
    name: str


class _Notes(msgspec.Struct):
    categories: list[_Class]


def _read_numbers(path: Path) -> dict[int, str]:
    """Read the classes of Label Studio's notes.json by their numbers in label files; empty for any other file.

    If classes have a `category` in the labelling interface, it is their number, and classes.txt is only a list.
    """
    try:
        notes = msgspec.json.decode(read_utf8(path), type=_Notes, strict=False)
    except (UserError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return {category.id: category.name for category in notes.categories}
