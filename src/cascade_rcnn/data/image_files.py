"""Search for image files in folders."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import EXTENSIONS, UNSUPPORTED
from cascade_rcnn.images.folders import is_drawn


def walk(folder: Path, depth: int | None = None) -> Iterator[Path]:
    """Yield every file below a folder, sorted within each folder, down to `depth` levels of subfolders (None: all).

    Names that begin with a dot are skipped: thumbnails, checkpoints and resource forks of other programs. So are the
    annotated images of `predict`. Each symbolic link is followed once, and never into the folder itself, which would be
    a loop. Raises UserError for a folder that cannot be read.
    """
    yield from _walk(folder, Path(os.path.realpath(folder)), set(), depth)


def _walk(folder: Path, root: Path, linked: set[Path], depth: int | None) -> Iterator[Path]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: cannot read this folder ({error.strerror}); check its permissions") from None
    for entry in entries:
        if not entry.is_dir():
            yield entry
            continue
        if is_drawn(entry):
            continue
        if entry.is_symlink():
            target = Path(os.path.realpath(entry))
            if target.is_relative_to(root) or root.is_relative_to(target) or target in linked:
                continue
            linked.add(target)
        if depth != 0:
            yield from _walk(entry, root, linked, None if depth is None else depth - 1)


def is_image(path: Path) -> bool:
    """Return whether a file name has the suffix of a supported image format."""
    return path.suffix.lower() in EXTENSIONS


def is_unread(path: Path) -> bool:
    """Return whether a file name has the suffix of an unsupported image format, such as HEIC."""
    return path.suffix.lower() in UNSUPPORTED


def left_out(paths: Iterable[Path]) -> list[str]:
    """Return a note about images in unsupported formats among these files, if there are any."""
    pictures = [path for path in paths if is_unread(path)]
    if not pictures:
        return []
    kinds = Counter(path.suffix.lower() for path in pictures)
    counts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    what = f"skipped images in unsupported formats: {counts} (first: {pictures[0].name})"
    return [f"{what}; convert them to JPEG or PNG"]
