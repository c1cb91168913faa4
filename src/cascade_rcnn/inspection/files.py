"""Findings about image files: missing, damaged, of the wrong size or type, rotated by EXIF, or duplicated."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from cascade_rcnn.images.decoding import FORMATS
from cascade_rcnn.images.orientation import SIDEWAYS
from cascade_rcnn.images.pixels import NARROW
from cascade_rcnn.inspection import duplicates
from cascade_rcnn.inspection.findings import Finding, Record, finding
from cascade_rcnn.inspection.splits import Split

_TURNS = {2: "mirrored", 3: "rotated by 180 degrees", 4: "flipped vertically", 6: "rotated by 90 degrees clockwise",
          8: "rotated by 90 degrees counterclockwise"}  # fmt: skip


def file_findings(splits: Sequence[Split]) -> list[Finding]:
    """Return the findings about the image files of all splits."""
    found: list[Finding] = []
    missing = [split.image(i) for split in splits for i in sorted(split.missing)]
    unreadable = [
        split.image(i, _reason(split, i)) for split in splits for i in split.problems if i not in split.missing
    ]
    found += finding("missing_image", missing) + finding("unreadable_image", unreadable)
    found += finding("size_differs", [record for split in splits for record in _sizes(split)])
    found += finding("shared_file", [record for split in splits for record in _shared(split)])
    found += finding("wrong_extension", [record for split in splits for record in _extensions(split)])
    for code, unclear in (("turned_unclear", True), ("turned_image", False)):
        found += finding(code, [record for split in splits for record in _turned(split, unclear)])
    return found + finding("narrow_range", _narrow(splits)) + _duplicates(splits)


def _reason(split: Split, i: int) -> str:
    return split.problems[i].removeprefix(f"{split.annotations.path(i)}: ")


def _sizes(split: Split) -> list[Record]:
    """Return the images whose size differs from the annotated one, with the likely reason."""
    annotated = split.annotations.image_sizes.numpy()
    records = []
    for i in np.flatnonzero((split.sizes > 0).all(axis=1) & ~split.usable & (annotated > 0).all(axis=1)).tolist():
        (height, width), (old_height, old_width) = split.sizes[i].tolist(), annotated[i].tolist()
        detail = f"{width} x {height}, annotated as {old_width} x {old_height}"
        if (height, width) == (old_width, old_height):
            turned = split.orientations[i] >= SIDEWAYS
            detail += ": annotated before the EXIF rotation" if turned else ": rotated, or width and height swapped"
        elif abs(height * old_width - width * old_height) <= max(width, old_width, height, old_height):
            detail += ": resized"
        records.append(split.image(i, detail))
    return records


def _shared(split: Split) -> list[Record]:
    first: dict[Path, int] = {}
    records = []
    for i in range(len(split.annotations)):
        other = first.setdefault(split.annotations.path(i), i)
        if other != i:
            detail = f"same file as image {int(split.annotations.image_ids[other])}"
            records.append(split.image(i, detail, split.image(other)))
    return records


def _extensions(split: Split) -> list[Record]:
    records = []
    for i, kind in enumerate(split.formats):
        suffix = split.annotations.path(i).suffix.lower()
        same = {"MPO": "JPEG"}.get(kind, kind)  # a JPEG file with several images in it
        if kind and suffix not in FORMATS.get(same, (suffix,)):
            records.append(split.image(i, f"a {same} file"))
    return records


def _turned(split: Split, unclear: bool) -> list[Record]:
    """Return images with an EXIF orientation, either those whose size does not reveal it (`unclear`) or the others."""
    records = []
    for i in np.flatnonzero((split.orientations != 1) & split.usable).tolist():
        turn, (height, width) = int(split.orientations[i]), split.sizes[i].tolist()
        if (turn < SIDEWAYS or height == width) == unclear:
            records.append(
                split.image(i, f"orientation {turn}: {_TURNS.get(turn, 'mirrored and rotated by 90 degrees')}")
            )
    return records


def _narrow(splits: Sequence[Split]) -> list[Record]:
    """Return the 16-bit images, if none uses more than an eighth of the range: a single one may just be dark."""
    if max((value for split in splits for value in split.peaks.values()), default=NARROW) >= NARROW:
        return []
    return [split.image(i, f"values up to {value}") for split in splits for i, value in split.peaks.items()]


def _duplicates(splits: Sequence[Split]) -> list[Finding]:
    """Return identical files and near-duplicate images, within and across splits."""
    places = [(split, i) for split in splits for i in range(len(split.annotations))]
    alike = duplicates.find(
        [digest for split in splits for digest in split.digests],
        np.concatenate([split.hashes for split in splits]),
        np.concatenate([split.shades for split in splits]),
        np.concatenate([split.sizes for split in splits]),
    )
    found = []
    for groups, relation, within, across in (
        (alike.exact, "identical", "duplicate_image", "duplicate_across_splits"),
        (alike.near, "similar", "near_duplicate_image", "near_duplicate_across_splits"),
    ):
        records: dict[str, list[Record]] = {within: [], across: []}
        for first, *others in groups:
            original, k = places[first]
            for split, i in (places[other] for other in others):
                if split.annotations.path(i) == original.annotations.path(k) and split is original:
                    continue  # a separate finding: shared_file
                code = within if split is original else across
                detail = f"{relation} to {original.annotations.file_names[k]} in {original.name}"
                records[code].append(split.image(i, detail, original.image(k)))
        for code, some in records.items():
            found += finding(code, some)
    copies = {i for group in (*alike.exact, *alike.near) for i in group[1:]}
    return found + finding("version_across_splits", list(_versions(places, copies)))


def _versions(places: Sequence[tuple[Split, int]], copies: Collection[int]) -> Iterator[Record]:
    """Yield the images, other than `copies`, that Roboflow has made from one in an earlier split."""
    for first, *others in duplicates.versions(split.annotations.file_names[i] for split, i in places):
        original, k = places[first]
        for other in others:
            split, i = places[other]
            if split is not original and other not in copies:
                detail = f"made from the same image as {original.annotations.file_names[k]} in {original.name}"
                yield split.image(i, detail, original.image(k))
