"""Label Studio tasks with predictions, and the labelling interface for them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from cascade_rcnn.config import Category
from cascade_rcnn.engine.prediction.formats.coco import write_rows
from cascade_rcnn.engine.prediction.formats.kept import Kept, Least, kept, readable
from cascade_rcnn.engine.prediction.formats.outlines import outline
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.files import replacing, write_text


def write_label_studio(output: Path, journal: Journal, categories: Sequence[Category], least: Least) -> Path:
    """Write the tasks to `label_studio.json` and the labelling interface, to be pasted, to `label_studio.xml`."""
    path = output / "label_studio.json"
    with replacing(path) as aside, aside.open("wb") as file:
        file.write(b"[")
        write_rows(file, _tasks(journal, categories, least))
        file.write(b"\n]\n")
    masks = any(entry.masks for entry in readable(journal))
    write_text(path.with_suffix(".xml"), _interface(categories, masks=masks))
    return path


def _tasks(journal: Journal, categories: Sequence[Category], least: Least) -> Iterator[dict[str, Any]]:
    """Yield the tasks, with coordinates in percent of the image; Label Studio reads the images from local files."""
    names = {category.id: category.name for category in categories}
    for entry in readable(journal):
        size = {"original_width": entry.width, "original_height": entry.height, "image_rotation": 0}
        regions = [
            {
                "id": f"{entry.image_id}-{number}",
                "type": shape,
                "from_name": "outline" if shape == "polygonlabels" else "label",
                "to_name": "image",
                **size,
                "score": one.score,
                "value": {**value, shape: [names[one.category_id]]},
            }
            for number, (one, shape, value) in enumerate(_shapes(entry, least))
        ]
        yield {
            "data": {"image": f"/data/local-files/?d={quote(entry.file_name)}"},
            "predictions": [{"model_version": "cascade-rcnn", "result": regions}],
        }


def _shapes(entry: Entry, least: Least) -> Iterator[tuple[Kept, str, dict[str, Any]]]:
    """Yield the outline of each mask, or the box of a detection without a mask, in percent of the image."""
    for one in kept(entry, least):
        percent = 100 / np.array([entry.width, entry.height])
        points = outline(one.mask)
        if points is not None:
            yield one, "polygonlabels", {"points": (points * percent).tolist()}
        else:
            x, y, width, height = (np.array(one.box) * np.tile(percent, 2)).tolist()
            yield one, "rectanglelabels", {"x": x, "y": y, "width": width, "height": height, "rotation": 0}


def _interface(categories: Sequence[Category], *, masks: bool) -> str:
    labels = "\n".join(f"    <Label value={quoteattr(category.name)}/>" for category in categories)
    image = '  <Image name="image" value="$image"/>'
    boxes = f'  <RectangleLabels name="label" toName="image">\n{labels}\n  </RectangleLabels>'
    outlines = f'  <PolygonLabels name="outline" toName="image">\n{labels}\n  </PolygonLabels>'
    return "\n".join(["<View>", image, boxes, *([outlines] if masks else []), "</View>", ""])
