"""Label Studio's tasks with predictions, and its labelling interface."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from cascade_rcnn.config import Category
from cascade_rcnn.engine.prediction.formats.coco import write_rows
from cascade_rcnn.engine.prediction.formats.kept import Least, kept, readable
from cascade_rcnn.engine.prediction.journal import Journal
from cascade_rcnn.files import replacing


def write_label_studio(output: Path, journal: Journal, categories: Sequence[Category], least: Least) -> Path:
    """Write `label_studio.json` and, to paste as the labelling interface, `label_studio.xml`."""
    path = output / "label_studio.json"
    with replacing(path) as aside, aside.open("wb") as file:
        file.write(b"[")
        write_rows(file, _tasks(journal, categories, least))
        file.write(b"\n]\n")
    with replacing(path.with_suffix(".xml")) as aside:
        aside.write_text(_interface(categories))
    return path


def _tasks(journal: Journal, categories: Sequence[Category], least: Least) -> Iterator[dict[str, Any]]:
    """Yield the tasks, with coordinates in percent of the image, which is served from local files."""
    names = {category.id: category.name for category in categories}
    for entry in readable(journal):
        size = {"original_width": entry.width, "original_height": entry.height, "image_rotation": 0}
        regions = [
            {
                "id": f"{entry.image_id}-{number}",
                "type": "rectanglelabels",
                "from_name": "label",
                "to_name": "image",
                **size,
                "score": one.score,
                "value": {
                    "x": 100 * one.box[0] / entry.width,
                    "y": 100 * one.box[1] / entry.height,
                    "width": 100 * one.box[2] / entry.width,
                    "height": 100 * one.box[3] / entry.height,
                    "rotation": 0,
                    "rectanglelabels": [names[one.category_id]],
                },
            }
            for number, one in enumerate(kept(entry, least))
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
