"""Detections in the formats of labelling tools, as initial boxes for people to correct."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import hotcoco
import msgspec

from cascade_rcnn.config import Category
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import replacing

Format = Literal["coco", "cvat", "label-studio", "yolo"]


def write_formats(
    formats: Sequence[Format], journal: Journal, categories: Sequence[Category], output: Path, threshold: float
) -> list[Path]:
    """Write detections with scores of at least `threshold`, and images without any, in each format.

    coco: `coco.json`, a COCO dataset (FiftyOne, CVAT, Roboflow and supervision's `DetectionDataset` read it);
    cvat: `cvat.xml`, CVAT for images 1.1; label-studio: `label_studio.json`, tasks with predictions, and the labelling
    interface beside it; yolo: the folder `yolo`, label files and data.yaml. Raises UserError if a format cannot
    represent the images.
    """
    made = []
    for form in dict.fromkeys(formats):
        if form == "label-studio":
            made.append(_write_list(output / "label_studio.json", _tasks(journal, categories, threshold)))
            with replacing(output / "label_studio.xml") as aside:
                aside.write_text(_interface(categories))
            continue
        path = _write_coco(output / "coco.json", journal, categories, threshold)
        made.append(path if form == "coco" else _through_hotcoco(form, path, output))
        if form != "coco" and "coco" not in formats:
            path.unlink()
    return made


def _kept(entry: Entry, threshold: float) -> Iterator[tuple[tuple[float, ...], float, int]]:
    for box, score, category in zip(entry.boxes, entry.scores, entry.category_ids, strict=True):
        if score >= threshold:
            yield box, score, category


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


def _write_coco(path: Path, journal: Journal, categories: Sequence[Category], threshold: float) -> Path:
    images = (
        {"id": one.image_id, "file_name": one.file_name, "width": one.width, "height": one.height}
        for one in _good(journal)
    )
    found = (
        {"image_id": one.image_id, "category_id": category, "bbox": box, "area": box[2] * box[3], "score": score}
        for one in _good(journal)
        for box, score, category in _kept(one, threshold)
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
                "type": "rectanglelabels",
                "from_name": "label",
                "to_name": "image",
                **size,
                "score": score,
                "value": {
                    "x": 100 * x / entry.width,
                    "y": 100 * y / entry.height,
                    "width": 100 * w / entry.width,
                    "height": 100 * h / entry.height,
                    "rotation": 0,
                    "rectanglelabels": [names[category]],
                },
            }
            for number, ((x, y, w, h), score, category) in enumerate(_kept(entry, threshold))
        ]
        yield {
            "data": {"image": f"/data/local-files/?d={quote(entry.file_name)}"},
            "predictions": [{"model_version": "cascade-rcnn", "result": regions}],
        }


def _interface(categories: Sequence[Category]) -> str:
    labels = "\n".join(f"    <Label value={quoteattr(category.name)}/>" for category in categories)
    image = '  <Image name="image" value="$image"/>'
    return (
        f'<View>\n{image}\n  <RectangleLabels name="label" toName="image">\n{labels}\n  </RectangleLabels>\n</View>\n'
    )
