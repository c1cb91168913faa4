"""Detections in the formats of labelling tools, as initial boxes, or masks, for people to correct."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import hotcoco
import msgspec
import numpy as np

from cascade_rcnn import rle
from cascade_rcnn.config import Category
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.detections import Box, Outline
from cascade_rcnn.files import replacing
from cascade_rcnn.results import load_supervision

Format = Literal["coco", "cvat", "label-studio", "yolo"]


def write_formats(
    formats: Sequence[Format], journal: Journal, categories: Sequence[Category], output: Path, threshold: float
) -> list[Path]:
    """Write detections with scores of at least `threshold`, and images without any, in each format.

    coco: `coco.json`, a COCO dataset (FiftyOne, CVAT, Roboflow and supervision's `DetectionDataset` read it);
    cvat: `cvat.xml`, CVAT for images 1.1; label-studio: `label_studio.json`, tasks with predictions, and the labelling
    interface beside it; yolo: the folder `yolo`, label files and data.yaml. Masks are run lengths in coco, polygons in
    cvat and label-studio, and left out in yolo. Raises UserError if a format cannot represent the images.
    """
    made = []
    for form in dict.fromkeys(formats):
        if form == "label-studio":
            made.append(_write_list(output / "label_studio.json", _tasks(journal, categories, threshold)))
            with replacing(output / "label_studio.xml") as aside:
                aside.write_text(_interface(categories, masks=any(entry.masks for entry in _good(journal))))
        elif form == "coco":
            made.append(_write_coco(output / "coco.json", journal, categories, threshold, polygons=False))
        else:
            path = _write_coco(output / f".{form}.json", journal, categories, threshold, polygons=True)
            try:
                made.append(_through_hotcoco(form, path, output))
            finally:
                path.unlink()
    return made


def _kept(entry: Entry, threshold: float) -> Iterator[tuple[Box, float, int, Outline | None]]:
    return (row for row in entry.rows() if row[1] >= threshold)


def _polygons(outline: Outline | None) -> list[list[float]]:
    """Return the outlines of a mask's parts, through the centres of the pixels at its border: x and y in turn."""
    if outline is None:
        return []
    (left, top, *_), pixels = rle.crop(rle.from_string(outline.counts.encode()), outline.size[0])
    found = load_supervision().mask_to_polygons(pixels)
    corner = np.array([left, top]) + 0.5
    return [(points + corner).ravel().tolist() for points in found]


def _good(journal: Journal) -> Iterator[Entry]:
    return (entry for entry in journal.entries() if entry.error is None)


def _write_list(path: Path, rows: Iterable[Any]) -> Path:
    with replacing(path) as aside, aside.open("wb") as file:
        file.write(b"[")
        _write_rows(file, rows)
        file.write(b"\n]\n")
    return path


def _write_rows(file: Any, rows: Iterable[Any]) -> None:
    for number, row in enumerate(rows):
        file.write((b",\n" if number else b"\n") + msgspec.json.encode(row))


def _write_coco(
    path: Path, journal: Journal, categories: Sequence[Category], threshold: float, *, polygons: bool
) -> Path:
    images = (
        {"id": one.image_id, "file_name": one.file_name, "width": one.width, "height": one.height}
        for one in _good(journal)
    )
    found = (
        {"image_id": one.image_id, "category_id": category, "bbox": box, "area": box[2] * box[3], "score": score}
        | ({"segmentation": _polygons(outline) if polygons else outline} if outline else {})
        for one in _good(journal)
        for box, score, category, outline in _kept(one, threshold)
    )
    annotations = ({"id": number, **row, "iscrowd": 0} for number, row in enumerate(found, start=1))
    with replacing(path) as aside, aside.open("wb") as file:
        file.write(b'{"categories": ' + msgspec.json.encode(list(categories)) + b',\n"images": [')
        _write_rows(file, images)
        file.write(b'\n],\n"annotations": [')
        _write_rows(file, annotations)
        file.write(b"\n]}\n")
    return path


def _through_hotcoco(form: Format, coco: Path, output: Path) -> Path:
    data = hotcoco.COCO(str(coco))
    try:
        if form == "cvat":
            with replacing(output / "cvat.xml") as aside:
                data.to_cvat(str(aside))
            return output / "cvat.xml"
        shutil.rmtree(output / "yolo", ignore_errors=True)  # label files of removed images
        data.to_yolo(str(output / "yolo"))
    except ValueError as error:  # two images with the same label file
        raise UserError(f"{output}: {form} cannot represent these images ({error}); choose another --format") from None
    return output / "yolo"


def _tasks(journal: Journal, categories: Sequence[Category], threshold: float) -> Iterator[dict[str, Any]]:
    """Yield Label Studio's tasks, with coordinates in percent of the image, which it serves from local files."""
    names = {category.id: category.name for category in categories}
    for entry in _good(journal):
        size = {"original_width": entry.width, "original_height": entry.height, "image_rotation": 0}
        regions = [
            {
                "id": f"{entry.image_id}-{number}",
                "from_name": "outline" if shape == "polygonlabels" else "label",
                "to_name": "image",
                "type": shape,
                **size,
                "score": score,
                "value": {**value, shape: [names[category]]},
            }
            for number, (shape, value, score, category) in enumerate(_shapes(entry, threshold))
        ]
        yield {
            "data": {"image": f"/data/local-files/?d={quote(entry.file_name)}"},
            "predictions": [{"model_version": "cascade-rcnn", "result": regions}],
        }


def _shapes(entry: Entry, threshold: float) -> Iterator[tuple[str, dict[str, Any], float, int]]:
    """Yield polygons of masks, boxes of detections without any, in percent of the image."""
    for (x, y, w, h), score, category, outline in _kept(entry, threshold):
        for points in (polygons := _polygons(outline)):
            pairs = zip(points[0::2], points[1::2], strict=True)
            scaled = [[100 * px / entry.width, 100 * py / entry.height] for px, py in pairs]
            yield "polygonlabels", {"points": scaled}, score, category
        if not polygons:
            sides = {"x": x / entry.width, "y": y / entry.height, "width": w / entry.width, "height": h / entry.height}
            box = {name: 100 * value for name, value in sides.items()}
            yield "rectanglelabels", {**box, "rotation": 0}, score, category


def _interface(categories: Sequence[Category], *, masks: bool) -> str:
    labels = "\n".join(f"    <Label value={quoteattr(category.name)}/>" for category in categories)
    image = '  <Image name="image" value="$image"/>'
    boxes = f'  <RectangleLabels name="label" toName="image">\n{labels}\n  </RectangleLabels>'
    outlines = f'  <PolygonLabels name="outline" toName="image">\n{labels}\n  </PolygonLabels>'
    return "\n".join(["<View>", image, boxes, *([outlines] if masks else []), "</View>", ""])
