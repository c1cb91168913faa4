"""`shapes`: a procedural detection dataset that needs no download and rewards precise boxes.

Textured, rotated, overlapping ellipses, rectangles, triangles and stars on a cluttered background. Every image is a
pure function of (seed, split, index). A shape's box encloses its whole outline inside the image, even if another shape
occludes part of it: from the left edge of the first pixel column whose centre it covers to the right edge of the last,
and likewise for rows.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from cascade_rcnn.errors import UserError

Array: TypeAlias = np.ndarray

SPLITS = ("train", "val")
CLASSES = ("ellipse", "rectangle", "triangle", "star")  # labels 1..4
SMALLEST_SIDE = 32
RECORD = "shapes.json"  # written with a complete dataset: its parameters

_FORMAT = 1  # incremented whenever the images of a given seed change
_MOST_SHAPES = 8
_LEAST_VISIBLE = 0.3  # shapes with a smaller visible fraction are not drawn
_LEAST_PIXELS = 12
_CONTRAST = 70.0  # minimum RGB distance between a shape's colour and its background


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One object: a unit outline of class `label` (1..4), scaled by `axes`, rotated by `angle`, moved to `center`.

    `center` is (x, y) and `axes` are half lengths, both in pixels; `angle` is in radians, clockwise on the screen.
    """

    label: int
    center: tuple[float, float]
    axes: tuple[float, float]
    angle: float


class Scene(NamedTuple):
    """A rendered image: pixels (H, W, 3) uint8, its shapes from back to front, and their boxes (N, 4) int64 XYXY."""

    pixels: Array
    shapes: tuple[Shape, ...]
    boxes: Array


class _Raster(NamedTuple):
    """A shape on the pixel grid: its window of the image, with unit coordinates and signed distance in pixels there."""

    window: tuple[slice, slice]
    u: Array
    v: Array
    distance: Array  # negative inside

    @property
    def mask(self) -> Array:
        return self.distance <= 0


def write_shapes(
    folder: str | Path, *, train: int = 400, val: int = 100, size: int | tuple[int, int] = 256, seed: int = 0
) -> Path:
    """Write the built-in dataset as COCO: `folder`/{train,val}.json with images in `folder`/images/{train,val}.

    Returns the folder. `size` is a side length or (height, width), in pixels, at least 32. A folder that already
    contains exactly this dataset is left as it is. The dataset is written atomically. Raises UserError for an invalid
    argument, or for a folder with other content.

    >>> folder = write_shapes("more_shapes", train=2, val=1, size=64)
    >>> sorted(path.name for path in folder.glob("*.json"))
    ['shapes.json', 'train.json', 'val.json']
    """
    folder = Path(folder)
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < SMALLEST_SIDE:
        raise UserError(f"shapes: size {height}x{width} is too small; give at least {SMALLEST_SIDE} pixels per side")
    if min(train, val) < 1 or seed < 0:
        raise UserError(
            f"shapes: train={train}, val={val}, seed={seed}; give 1 image or more per split, and a seed >= 0"
        )
    record = {"format": _FORMAT, "train": train, "val": val, "height": height, "width": width, "seed": seed}
    if _is_written(folder, record):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-", suffix=".tmp") as aside:
        unfinished = Path(aside) / folder.name
        for split, count in zip(SPLITS, (train, val), strict=True):
            _write_split(unfinished, split, count, (height, width), seed)
        (unfinished / RECORD).write_text(json.dumps(record))
        if not _is_written(folder, record):  # another process may have been faster
            os.replace(unfinished, folder)  # noqa: PTH105  Path.replace does not document folders
    return folder


def draw(split: str, index: int, *, size: tuple[int, int], seed: int) -> Scene:
    """Draw one image; `size` is (height, width). The same arguments always give the same pixels."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    canvas = _background(rng, *size)
    shapes, rasters = _arrange(rng, *size)
    for raster in rasters:
        _paint(rng, canvas, raster)
    canvas = _lines(rng, canvas, most=2)
    canvas += rng.integers(-4, 5, canvas.shape, dtype=np.int8)
    boxes = np.array([_box(raster) for raster in rasters], dtype=np.int64).reshape(-1, 4)
    return Scene(canvas.clip(0, 255).astype(np.uint8), shapes, boxes)


def _is_written(folder: Path, record: dict[str, int]) -> bool:
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder for the shapes")
    if not any(folder.iterdir()):
        return False
    path = folder / RECORD
    try:
        same = json.loads(path.read_text()) == record
    except (OSError, ValueError):
        same = False
    if not same:
        raise UserError(f"{folder}: contains something other than these shapes; remove it or give another folder")
    return True


def _write_split(folder: Path, split: str, count: int, size: tuple[int, int], seed: int) -> None:
    (folder / "images" / split).mkdir(parents=True)
    names = [f"{split}/{index + 1:06d}.png" for index in range(count)]

    def draw_and_save(index: int) -> list[dict[str, object]]:
        scene = draw(split, index, size=size, seed=seed)
        Image.fromarray(scene.pixels).save(folder / "images" / names[index], compress_level=1)
        return [
            {"image_id": index + 1, "category_id": shape.label, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            | {"area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            for shape, (x1, y1, x2, y2) in zip(scene.shapes, scene.boxes.tolist(), strict=True)
        ]

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # resizing and PNG encoding, most of the work, release the GIL
        drawn = chain.from_iterable(pool.map(draw_and_save, range(count)))
        annotations = [{"id": i} | annotation for i, annotation in enumerate(drawn, start=1)]
    images = [{"id": i, "file_name": n, "height": size[0], "width": size[1]} for i, n in enumerate(names, start=1)]
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASSES, start=1)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (folder / f"{split}.json").write_text(json.dumps(coco))


# The outlines: unit coordinates (u, v) -> signed distance, negative inside; all lie within [-1, 1] x [-1, 1].


def _ellipse(u: Array, v: Array) -> Array:
    return np.hypot(u, v) - 1


def _rectangle(u: Array, v: Array) -> Array:
    return np.maximum(np.abs(u), np.abs(v)) - 1


def _triangle(u: Array, v: Array) -> Array:
    """Return the distance to a triangle with corners (-1, 1), (1, 1) and (0, -1)."""
    return np.maximum(v - 1, (2 * np.abs(u) - v - 1) / math.sqrt(5))


def _star(u: Array, v: Array) -> Array:
    """Return the distance to a five-pointed star of radius 1 and inner radius 1/2, its first point at (0, -1)."""
    sector = math.pi / 5
    angle = np.abs((np.arctan2(u, -v) + sector) % (2 * sector) - sector)  # from the nearest point, 0..sector
    radius = np.hypot(u, v)
    inner_x, inner_y = math.cos(sector) / 2, math.sin(sector) / 2
    edge = math.hypot(inner_y, 1 - inner_x)
    return ((radius * np.cos(angle) - 1) * inner_y + radius * np.sin(angle) * (1 - inner_x)) / edge


_OUTLINES: tuple[Callable[[Array, Array], Array], ...] = (_ellipse, _rectangle, _triangle, _star)


def _rasterise(shape: Shape, height: int, width: int) -> _Raster:
    (x, y), (a, b) = shape.center, shape.axes
    reach = math.hypot(a, b) + 2  # the corner of the scaled unit square, plus its soft edge
    top, left = max(0, math.floor(y - reach)), max(0, math.floor(x - reach))
    bottom, right = min(height, math.ceil(y + reach)), min(width, math.ceil(x + reach))
    dx = np.arange(left, right)[None, :] + 0.5 - x
    dy = np.arange(top, bottom)[:, None] + 0.5 - y
    cos, sin = math.cos(shape.angle), math.sin(shape.angle)
    u, v = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
    distance = _OUTLINES[shape.label - 1](u, v) * min(a, b)
    return _Raster((slice(top, bottom), slice(left, right)), u, v, distance)


def _box(raster: _Raster) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(raster.mask.any(axis=1)), np.flatnonzero(raster.mask.any(axis=0))
    top, left = raster.window[0].start, raster.window[1].start
    return left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1


def _arrange(rng: Generator, height: int, width: int) -> tuple[tuple[Shape, ...], tuple[_Raster, ...]]:
    """Place shapes from front to back, except those mostly hidden or outside, and return them from back to front."""
    kept: list[tuple[Shape, _Raster]] = []
    covered = np.zeros((height, width), dtype=bool)
    for _ in range(rng.integers(2, _MOST_SHAPES, endpoint=True)):
        shape = _random_shape(rng, height, width)
        raster = _rasterise(shape, height, width)
        visible = np.count_nonzero(raster.mask & ~covered[raster.window])
        if visible >= max(_LEAST_PIXELS, _LEAST_VISIBLE * np.count_nonzero(raster.mask)):
            covered[raster.window] |= raster.mask
            kept.append((shape, raster))
    shapes, rasters = zip(*reversed(kept), strict=True)
    return shapes, rasters


def _random_shape(rng: Generator, height: int, width: int) -> Shape:
    side = min(height, width)
    longer = side * math.exp(rng.uniform(math.log(0.03), math.log(0.28)))
    aspect = math.exp(rng.uniform(math.log(0.4), 0))
    return Shape(
        label=int(rng.integers(1, len(CLASSES), endpoint=True)),
        center=(width * rng.uniform(0.06, 0.94), height * rng.uniform(0.06, 0.94)),
        axes=(max(3.0, longer), max(3.0, longer * aspect)),
        angle=rng.uniform(0, 2 * math.pi),
    )


# Pixels: float32 canvases (H, W, 3) of 0..255, modified in place unless stated otherwise.


def _noise(rng: Generator, height: int, width: int, cells: int, *, channels: int = 3) -> Array:
    """Return smooth noise (H, W, channels) in -1..1 with about `cells` bumps along the short side; 1 or 3 channels."""
    scale = cells / min(height, width)
    grid_size = math.ceil(height * scale) + 1, math.ceil(width * scale) + 1
    grid = rng.integers(0, 256, (*grid_size, channels), dtype=np.uint8)
    image = Image.fromarray(grid if channels == 3 else grid[..., 0]).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32).reshape(height, width, channels) / 127.5 - 1


def _background(rng: Generator, height: int, width: int) -> Array:
    """Draw noise of three octaves, ragged patches of another colour, soft blobs and thin lines."""
    canvas = np.empty((height, width, 3), dtype=np.float32)
    canvas[:] = rng.uniform(60, 195, 3)
    for cells in (2, 8, 40):
        canvas += rng.uniform(5, 130 / cells**0.4) * _noise(rng, height, width, cells)
    ragged = _noise(rng, height, width, int(rng.integers(3, 9)), channels=1) > rng.uniform(0.35, 0.8)
    canvas += ragged * rng.uniform(-60, 60, 3).astype(np.float32)
    for _ in range(rng.integers(1, 6)):
        _blob(rng, canvas)
    return _lines(rng, canvas, most=8)


def _blob(rng: Generator, canvas: Array) -> None:
    height, width = canvas.shape[:2]
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    rows = np.exp(-(((np.arange(height) - y) / (height * rng.uniform(0.03, 0.15))) ** 2))
    columns = np.exp(-(((np.arange(width) - x) / (width * rng.uniform(0.03, 0.15))) ** 2))
    colour = rng.uniform(-120, 120, 3)
    canvas += np.outer(rows, columns).astype(np.float32)[..., None] * colour.astype(np.float32)


def _lines(rng: Generator, canvas: Array, *, most: int) -> Array:
    """Return a new canvas with up to `most` straight lines across it."""
    height, width = canvas.shape[:2]
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, most, endpoint=True)):
        ends = rng.uniform(-0.1, 1.1, (2, 2)) * (width, height)
        red, green, blue = rng.integers(0, 256, 3).tolist()
        pen.line(ends.ravel().tolist(), fill=(red, green, blue), width=int(rng.integers(1, 4)))
    return np.array(image, dtype=np.float32)


def _paint(rng: Generator, canvas: Array, raster: _Raster) -> None:
    """Blend a textured shape into the canvas; the soft edge is centred on the outline."""
    under = canvas[raster.window]
    candidates = rng.uniform(10, 245, (8, 3))
    distances = np.linalg.norm(candidates - under[raster.mask].mean(axis=0), axis=1)
    colour = candidates[np.argmax(distances >= _CONTRAST)]  # the first one with enough contrast
    other = colour + rng.uniform(-45, 45, 3)
    pattern = _texture(rng, raster).astype(np.float32)[..., None]
    alpha = np.clip(0.5 - raster.distance / rng.uniform(0.8, 2.0), 0, 1).astype(np.float32)[..., None]
    under += alpha * (colour.astype(np.float32) + pattern * (other - colour).astype(np.float32) - under)


def _texture(rng: Generator, raster: _Raster) -> Array:
    """Return a pattern of 0..1 that rotates with its shape: shading, stripes, checks, rings or noise."""
    u, v = raster.u, raster.v
    frequency, phase = rng.uniform(3, 14), rng.uniform(0, 2 * math.pi)
    match rng.integers(5):
        case 0:
            return 0.5 + 0.4 * (u * math.cos(phase) + v * math.sin(phase))
        case 1:
            return 0.5 + 0.5 * np.sin(frequency * u + phase)
        case 2:
            return (np.sin(frequency * u + phase) * np.sin(frequency * v) > 0) * 1.0
        case 3:
            return 0.5 + 0.5 * np.sin(frequency * np.hypot(u, v) + phase)
        case _:
            return 0.5 + 0.5 * _noise(rng, u.shape[0], u.shape[1], int(frequency), channels=1)[..., 0]
