"""Label files of YOLO images: .../labels/train/a.txt for .../images/train/a.jpg, or the .txt file beside the image."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from cascade_rcnn.data.image_files import is_image, is_unread
from cascade_rcnn.errors import UserError
from cascade_rcnn.text import count
from cascade_rcnn.text_files import read_lines

_IMAGES = ("images", "jpegimages")  # names of folders, in any case
_LABELS = ("labels", "Labels", "LABELS")
_ROW = 5  # numbers: a class and a box


def label_of(image: Path) -> Path:
    """Return where an image's label file belongs: the last folder `images` of its path becomes `labels`, if any.

    So does JPEGImages, as in Darknet, and either in any case.

    >>> label_of(Path("set/images/train/a.jpg")).as_posix(), label_of(Path("set/a.jpg")).as_posix()
    ('set/labels/train/a.txt', 'set/a.txt')
    """
    return _places(image)[0]


def find_labels(images: Sequence[Path]) -> list[Path | None]:
    """Return the label file of each image, None if it has none.

    On Windows, the names of a file and its image may differ in case. Such a file is found if it is not that of another
    image.
    """
    # Folders are listed once, as networks make look-ups slow.
    names = cache(lambda folder: {path.name for path in _files(folder, deep=False)})
    exact = [next((path for path in _places(image) if path.name in names(path.parent)), None) for image in images]
    taken = set(exact)
    alike = cache(lambda folder: {_fold(folder / name): folder / name for name in names(folder)})

    def similar(image: Path) -> Path | None:
        found = (alike(path.parent).get(_fold(path)) for path in _places(image))
        return next((path for path in found if path is not None and path not in taken), None)

    return [path or similar(image) for path, image in zip(exact, images, strict=True)]


def unused_labels(images: Iterable[Path], folders: Iterable[Path]) -> list[str]:
    """Return a note about label files of folders of images, or in these folders, that belong to none of `images`.

    Other text files do not count: lists of images or classes.
    """
    owned = {_fold(path) for image in images for path in _places(image)}
    places = {place.parent for folder in folders for place in _places(folder / "_")}
    files = (path for place in sorted(places) for path in _files(place, deep=True))
    texts = {_fold(path): path for path in files if path.suffix.lower() == ".txt"}  # folders may differ only in case
    unused = [path for name, path in sorted(texts.items()) if name not in owned and _has_rows(path)]
    if not unused:
        return []
    verb = "belongs" if len(unused) == 1 else "belong"
    return [f"{count(len(unused), 'label file')} {verb} to no image (first: {unused[0]}); check the names"]


def shared_labels(images: Sequence[Path], labels: Sequence[Path | None]) -> list[str]:
    """Return a note about label files of several images, such as a.jpg and a.png."""
    owners = Counter(label for label, _ in {(label, image) for label, image in zip(labels, images, strict=True)})
    shared = sorted(label for label, number in owners.items() if label is not None and number > 1)
    if not shared:
        return []
    verb = "belongs" if len(shared) == 1 else "belong"
    what = f"{count(len(shared), 'label file')} {verb} to several images (first: {shared[0]})"
    return [f"{what}, each of which gets its boxes; remove the images that they do not fit"]


def pictures(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield all image files below folders, including those in unsupported formats."""
    for folder in folders:
        yield from (path for path in _files(folder, deep=True) if is_image(path) or is_unread(path))


def _places(image: Path) -> list[Path]:
    """Return where the label file of an image may be, most likely first."""
    beside = image.with_suffix(".txt")
    folders = beside.parts[:-1]
    exact = [i for i, part in enumerate(folders) if part == "images"][-1:]
    alike = [i for i, part in enumerate(folders) if part.lower() in _IMAGES][-1:]
    found = [Path(*folders[:i], name, *beside.parts[i + 1 :]) for i in (*exact, *alike) for name in _LABELS]
    return [*found, beside]


def _fold(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def _files(folder: Path, *, deep: bool) -> Iterator[Path]:
    """Yield the files in a folder, if it exists; with `deep`, also those in its subfolders."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if deep and not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _has_rows(path: Path) -> bool:
    """Return whether the first line of a file is a row of a label file."""
    try:
        first = next(filter(None, read_lines(path)), "").split()
        return len(first) >= _ROW and all(abs(float(text)) < float("inf") for text in first)
    except (UserError, ValueError):
        return False
