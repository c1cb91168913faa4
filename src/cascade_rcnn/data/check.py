"""Checks of all image files of a dataset before they are used."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from cascade_rcnn.arguments import check_choice, check_number
from cascade_rcnn.data.annotations import Annotations, check_annotations
from cascade_rcnn.data.foreign import imported_name
from cascade_rcnn.data.headers import Header, read_headers
from cascade_rcnn.data.image_files import is_image
from cascade_rcnn.data.names import exists
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import MAX_MEGAPIXELS

BadImages: TypeAlias = Literal["stop", "skip", "keep"]  # keep: raise only when such an image is needed
_SHOWN = 5
_LARGE = 89  # megapixels; larger images get a note about memory
_ADVICE = "fix or remove them, or skip them (bad-images skip)"


def check_images(
    annotations: Annotations,
    *,
    bad_images: BadImages = "stop",
    max_megapixels: float = MAX_MEGAPIXELS,
    decode: bool = False,
) -> Annotations:
    """Check by its header that each image exists, is readable and complete, and has the annotated size.

    An image is also unusable above `max_megapixels`, or if its file is that of an earlier one. Returns the annotations
    with notes; "skip" drops unusable images, and "keep" only notes them. With "stop", raises one UserError that lists
    them. Also raises UserError if "skip" leaves no image. With `decode`, the images are decoded as well, which takes
    longer and also finds damage within a file.
    """
    check_annotations(annotations)
    check_choice("bad_images", bad_images, get_args(BadImages))
    check_number("max_megapixels", max_megapixels, 0)
    paths = [annotations.path(i) for i in range(len(annotations))]
    headers = read_headers(paths, max_megapixels, decode=decode)
    problems: dict[int, str] = {}
    for i, (header, annotated) in enumerate(zip(headers, annotations.image_sizes.tolist(), strict=True)):
        if isinstance(header, UserError):
            problems[i] = str(header)
        elif header.size != tuple(annotated):
            problems[i] = size_differs(paths[i], header.size, tuple(annotated))
    for i, other in _repeated(paths).items():
        problems.setdefault(i, f"{paths[i]}: two images share this file (ids {_ids(annotations, i, other)})")
    found = annotations.with_notes(_remarks(headers))
    if not problems:
        return found
    kept, note = leave_out(annotations.source, annotations.path, len(annotations), problems, bad_images)
    return found.select(kept).with_notes([note])


def leave_out(
    source: str, path: Callable[[int], Path], images: int, problems: dict[int, str], bad_images: BadImages
) -> tuple[np.ndarray, str]:
    """Return a mask (N,) of the images to keep, and a note about the unusable ones.

    `path` returns the path of image i of N = `images`. `problems` maps the index of each unusable image to a line that
    begins with its path. Raises UserError with "stop", or if "skip" leaves no image; "keep" keeps all of them.
    """
    missing = {i: file for i in problems if not exists(file := path(i))}
    parts = []
    if missing:
        first = next(iter(missing.values()))
        hint = _instead(first) + imported_name(first.name)
        parts.append(f"{len(missing)} {'is' if len(missing) == 1 else 'are'} missing (first: {first}{hint})")
    others = [line for i, line in problems.items() if i not in missing]
    parts += others[:_SHOWN] + ([f"and {len(others) - _SHOWN} more"] if len(others) > _SHOWN else [])
    summary = f"{len(problems)} of {images} images cannot be used: {'; '.join(parts)}"
    if bad_images == "keep":
        return np.ones(images, np.bool_), summary
    if bad_images == "stop" or len(problems) == images:
        hint = "give the correct images folder" if len(missing) == images else _ADVICE
        raise UserError(f"{source}: {summary}; {hint}")
    kept = np.ones(images, np.bool_)
    kept[list(problems)] = False
    return kept, f"{summary}; they are skipped"


def _instead(path: Path) -> str:
    """Mention the image that has the name of a missing one but for its suffix, as after a conversion."""
    try:
        alike = sorted(file.name for file in path.parent.iterdir() if file.stem == path.stem and is_image(file))
    except (OSError, ValueError):
        return ""
    return f"; {alike[0]} is there" if alike else ""


def size_differs(path: Path, size: tuple[int, int], annotated: tuple[int, int]) -> str:
    """Return the message about an image whose size (height, width) differs from its annotation."""
    return (
        f"{path}: the image is {size[1]} x {size[0]} when upright, but annotated as {annotated[1]} x {annotated[0]}; "
        "correct the annotation, or the image's EXIF orientation"
    )


def _repeated(paths: Sequence[Path]) -> dict[int, int]:
    """Find images whose file is also used by an earlier image."""
    first: dict[Path, int] = {}
    return {i: first[path] for i, path in enumerate(paths) if first.setdefault(path, i) != i}


def _ids(annotations: Annotations, *images: int) -> str:
    return " and ".join(str(number) for number in sorted(annotations.image_ids[list(images)].tolist()))


def _remarks(headers: Sequence[Header | UserError]) -> list[str]:
    read = [header for header in headers if isinstance(header, Header)]
    notes = []
    if deep := sum(header.mode[0] in "IF" for header in read):
        notes.append(
            f"{deep} of {len(headers)} images are greyscale with more than 8 bits; "
            "0..65535 (floats: 0..1) is mapped to 0..255 (`cascade-rcnn look` finds images that use little of it)"
        )
    if more := sum(header.more for header in read):
        notes.append(f"{more} of {len(headers)} images have several pages or frames; only the first is read")
    megapixels = [header.size[0] * header.size[1] / 1e6 for header in read]
    if large := sum(value > _LARGE for value in megapixels):
        notes.append(
            f"{large} of {len(headers)} images have more than {_LARGE} megapixels (largest: {max(megapixels):.0f}); "
            f"reading the largest takes {max(megapixels) * 0.007:.1f} GB of memory; consider tiling"
        )
    return notes
