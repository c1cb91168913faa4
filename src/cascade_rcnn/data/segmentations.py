"""Segmentations of objects, stored as in COCO files and decoded to masks when an image is read.

Polygons are rasterised to the same pixels as by pycocotools' `frPyObjects` and `merge`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import hotcoco.mask
import msgspec
import numpy as np
from msgspec import Struct
from torch import Tensor

from cascade_rcnn import rle
from cascade_rcnn.data.packed import PackedBytes
from cascade_rcnn.masks import Masks
from cascade_rcnn.rle import RLE
from cascade_rcnn.text import count

_LEAST = 6  # coordinates of a polygon
_FARTHEST = 2.0**20  # pixels; larger coordinates are errors


class _Runs(Struct, gc=False):
    size: tuple[int, int]
    counts: list[int] | str


_Form: TypeAlias = list[list[float]] | _Runs
Extent: TypeAlias = tuple[float, float, float, float]  # the rectangle around a segmentation, XYWH
_Written: TypeAlias = list[list[float] | float] | _Runs
_decoder = msgspec.json.Decoder(_Written)
_AS_CROWDS = "training and evaluation of masks ignore these objects like crowds"
ABSENT = "absent"
_FORMS = "neither polygons, [[x, y, x, y, ...]], nor run lengths"
_OUTSIDE, _NOTHING = "a polygon outside the image", "run lengths without any pixel"
EMPTY = frozenset((_OUTSIDE, _NOTHING))  # valid, but an object without pixels
_NONE = frozenset((b"", b"null", b"[]", b"{}", b'""'))  # what tools write if there is no segmentation


class Segmentations(PackedBytes):
    """The segmentations of A objects as JSON in COCO's format; empty for an object without a usable one.

    JSON takes about as many bytes as float64 coordinates would, and can be written to a file unchanged.
    """

    def has(self) -> np.ndarray:
        """Return which objects have a segmentation, (A,) bool."""
        return self.lengths().numpy() > 0

    def coco(self, a: int) -> list[list[float]] | RLE | None:
        """Return the polygons (at least one, each of 3 or more points) or run lengths of object a, if it has them."""
        text = self.read(a)
        if not text:
            return None
        form = _formed(_decoder.decode(text))
        return _polygons(form) if isinstance(form, list) else _compressed(form)

    def rle(self, a: int, height: int, width: int) -> RLE | None:
        """Return object a's run lengths in an image of this size, None if it has no segmentation."""
        form = self.coco(a)
        return _rasterise(form, height, width) if isinstance(form, list) else form

    def extents(self, sizes: np.ndarray) -> np.ndarray:
        """Return the rectangles around the segmentations, XYWH (A, 4), NaN for objects without one.

        `sizes` (A, 2) are the height and width of each object's image.
        """
        found = np.full((len(self), 4), np.nan)
        for a in np.flatnonzero(self.has()).tolist():
            found[a] = _extent(self.read(a), *sizes[a].tolist())
        return found

    def masks(self, rows: Iterable[int], height: int, width: int) -> Masks:
        """Decode the masks of objects in one image; objects without a segmentation get an empty mask."""
        nothing = RLE(counts=rle.to_string(np.array([height * width])))
        return decoded(((self.rle(a, height, width) or nothing)["counts"] for a in rows), height, width)


def usable(
    texts: Sequence[bytes], image_sizes: np.ndarray, names: Sequence[str], images: np.ndarray, boxes: np.ndarray
) -> tuple[Segmentations | None, list[str]]:
    """Pack the usable segmentations of A objects (None if there are none), and return notes about suspicious ones.

    `image_sizes` (N, 2) and `names` are the sizes and names of the images; `images` (A,) is the image of each object,
    and `boxes` (A, 4) are their boxes, XYWH.
    """
    sizes, kept = image_sizes.tolist(), list(texts)
    absent, broken, first = 0, 0, ""
    extents = np.full((len(texts), 4), np.nan)
    for a, (text, image) in enumerate(zip(texts, images.tolist(), strict=True)):
        found = _extent(text, *sizes[image])
        if not isinstance(found, str):
            extents[a] = found
            continue
        kept[a] = b""
        absent += found == ABSENT
        if found != ABSENT:
            first = first or f"{found}, in {names[image]}"
            broken += 1
    if absent + broken == len(texts):
        whole = f"no object has a mask; {broken} of {len(texts)} segmentations are unusable (first: {first})"
        return None, [whole] if broken else []
    notes = [f"{absent} of {len(texts)} objects have no segmentation; {_AS_CROWDS}"] if absent else []
    if broken:
        notes.append(f"{broken} of {len(texts)} segmentations are unusable; {_AS_CROWDS} (first: {first})")
    return Segmentations.of(kept), notes + _note_of_misplaced(extents, boxes, names, images)


def misplaced(extents: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the rows of masks of which most is outside the box, both XYWH (A, 4); NaN is no mask.

    Both are widened by half a pixel, as masks consist of whole pixels and may be thin.
    """
    (low, high), (box_low, box_high) = ((x[:, :2] - 0.5, x[:, :2] + x[:, 2:] + 0.5) for x in (extents, boxes))
    shared = (np.minimum(high, box_high) - np.maximum(low, box_low)).clip(min=0)
    return np.flatnonzero((shared / (high - low)).prod(axis=1) < 0.5)


def _note_of_misplaced(extents: np.ndarray, boxes: np.ndarray, names: Sequence[str], images: np.ndarray) -> list[str]:
    rows = misplaced(extents, boxes)
    if not len(rows):
        return []
    mask, box = (", ".join(f"{value:g}" for value in table[rows[0]]) for table in (extents, boxes))
    what = f"{len(rows)} of {len(boxes)} masks lie mostly outside their box: one of the two is wrong"
    first = f"mask [{mask}], box [{box}], in {names[int(images[rows[0]])]}"
    return [f"{what}; polygons are x, y in pixels, and run lengths go down the columns (first: {first})"]


def binary(masks: Masks | Tensor) -> Masks:
    """Encode predicted masks (N, 1, H, W) or (N, H, W); keep encoded masks."""
    if isinstance(masks, Masks):
        return masks
    return Masks.encode(masks.flatten(0, 1) if masks.ndim == 4 else masks)


def decoded(counts: Iterable[bytes], height: int, width: int) -> Masks:
    """Decode compressed run lengths, as returned by `run_lengths`, to masks of one image."""
    pairs = (rle.crop(rle.from_string(one), height) for one in counts)
    return Masks.build((height, width), ((bounds[:2], crop) for bounds, crop in pairs))


def run_lengths(masks: Masks) -> list[RLE]:
    """Return masks as compressed run lengths in COCO's format."""
    height, width = masks.size
    return [
        RLE(size=(height, width), counts=rle.to_string(rle.encode(crop, (x, y, x_end, y_end), height, width)))
        for crop, (x, y, x_end, y_end) in zip(masks.crops(), masks.bounds.tolist(), strict=True)
    ]


def encode(form: Any) -> bytes:
    """Return polygons or run lengths as JSON."""
    if isinstance(form, dict):
        form = {**form, "counts": form["counts"].decode()} if isinstance(form["counts"], bytes) else form
    return msgspec.json.encode(form)


def is_absent(text: bytes) -> bool:
    """Return whether JSON is what tools write in place of a segmentation if there is none."""
    return text in _NONE


def bounds(form: Any, size: tuple[int, int]) -> Extent | None:
    """Return the bounding box (x, y, width, height) of polygons or run lengths, None for anything else.

    `form` is decoded JSON. Run lengths must be of an image of this size (height, width), unless it is 0.
    """
    try:
        form = _formed(msgspec.convert(form, _Written, strict=False))
        if isinstance(form, _Runs):
            if _problem_of_runs(form, *(size if all(size) else form.size)):
                return None
            return _extent_of_runs(form)
        points = [number for polygon in form for number in polygon]
        xs, ys = points[0::2], points[1::2]
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    except ValueError:  # including msgspec's errors
        return None


def problem(text: bytes, height: int, width: int) -> str | None:
    """Return why a segmentation cannot be used in an image of this size, ABSENT if there is none, or None if it can."""
    found = _extent(text, height, width)
    return found if isinstance(found, str) else None


def _extent(text: bytes, height: int, width: int) -> str | Extent:
    """Return the extent of a segmentation in the image or, like `problem`, why it cannot be used."""
    if is_absent(text):
        return ABSENT
    try:
        form = _formed(_decoder.decode(text))
        if isinstance(form, _Runs):
            return _problem_of_runs(form, height, width) or _extent_of_runs(form)
    except msgspec.MsgspecError as error:
        return f"{_FORMS} ({str(error).partition(' - ')[0]})"
    except ValueError as error:
        return str(error)
    return _extent_of_polygons(form, height, width)


def _formed(written: _Written) -> _Form:
    """Return polygons or run lengths; some tools write a single polygon without the list around it."""
    if isinstance(written, _Runs):
        return written
    polygons = [part for part in written if isinstance(part, list)]
    if len(polygons) == len(written):
        return polygons
    if polygons:
        raise ValueError(_FORMS)
    return [[number for number in written if not isinstance(number, list)]]


def _extent_of_polygons(polygons: list[list[float]], height: int, width: int) -> str | Extent:
    for polygon in polygons:
        if len(polygon) % 2:
            return f"a polygon of {len(polygon)} coordinates"
    numbers = [polygon for polygon in polygons if len(polygon) >= _LEAST]
    if not numbers:
        return f"a polygon of {count(max(map(len, polygons)) // 2, 'point')}"
    xs = [x for polygon in numbers for x in polygon[0::2]]
    ys = [y for polygon in numbers for y in polygon[1::2]]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    if not max(-left, right, -top, bottom) < _FARTHEST:
        return f"a coordinate of {max(-left, right, -top, bottom):g}"
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return _OUTSIDE
    x, y = max(left, 0), max(top, 0)
    return x, y, min(right, width) - x, min(bottom, height) - y


def _extent_of_runs(runs: _Runs) -> Extent:
    x, y, width, height = hotcoco.mask.toBbox(_compressed(runs))
    return x, y, width, height


def _problem_of_runs(runs: _Runs, height: int, width: int) -> str | None:
    if runs.size != (height, width):
        return f"run lengths of an image of {runs.size[1]} x {runs.size[0]}"
    counts = _counts(runs)
    rle.check(counts, height, width)
    return None if rle.area(counts) else _NOTHING


def _counts(runs: _Runs) -> np.ndarray:
    if isinstance(runs.counts, str):
        return rle.from_string(runs.counts.encode(errors="replace"))
    try:
        return np.array(runs.counts, np.int64)
    except OverflowError:
        raise ValueError("run lengths beyond any image") from None


def _polygons(form: list[list[float]]) -> list[list[float]]:
    return [polygon for polygon in form if len(polygon) >= _LEAST]


def _compressed(form: _Runs) -> RLE:
    counts = form.counts.encode() if isinstance(form.counts, str) else rle.to_string(np.array(form.counts, np.int64))
    return RLE(size=form.size, counts=counts)


def _rasterise(polygons: list[list[float]], height: int, width: int) -> RLE:
    parts = hotcoco.mask.frPyObjects(polygons, height, width)
    whole = parts[0] if len(parts) == 1 else hotcoco.mask.merge(parts)
    return RLE(size=(height, width), counts=whole["counts"])
