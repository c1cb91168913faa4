"""PASCAL VOC: one xml file per image in `voc/Annotations`, named after the image.

Corners are written with fractions of a pixel, and objects with their score, which readers of VOC ignore.
"""

from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from xml.etree import ElementTree

from cascade_rcnn.config import Category
from cascade_rcnn.engine.prediction.formats.kept import Kept, Least, kept, readable
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import folder_aside
from cascade_rcnn.images.folders import inside


def write_voc(folder: Path, journal: Journal, categories: Sequence[Category], least: Least) -> Path:
    """Write the folder, replacing any earlier one. Raises UserError if two images would share an xml file."""
    names = {category.id: category.name for category in categories}
    with folder_aside(folder) as aside:
        for entry in readable(journal):
            path = aside / xml_of(entry.file_name)
            if path.exists():
                raise UserError(
                    f"{folder}: voc cannot represent these images (two share the xml file of {entry.file_name}); "
                    "choose another --format"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            ElementTree.ElementTree(_annotation(entry, list(kept(entry, least)), names)).write(path, encoding="utf-8")
        rmtree(folder, ignore_errors=True)
        (aside / "Annotations").mkdir(exist_ok=True)
        aside.replace(folder)
    return folder


def xml_of(name: str) -> Path:
    """Return the file of an image in the folder."""
    return ("Annotations" / inside(name)).with_suffix(".xml")


def _annotation(entry: Entry, found: Sequence[Kept], names: dict[int, str]) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _add(root, "filename", entry.file_name)
    size = ElementTree.SubElement(root, "size")
    for name, value in (("width", entry.width), ("height", entry.height), ("depth", 3)):
        _add(size, name, value)
    for one in found:
        item = ElementTree.SubElement(root, "object")
        _add(item, "name", names[one.category_id])
        _add(item, "difficult", 0)
        _add(item, "score", one.score)
        box = ElementTree.SubElement(item, "bndbox")
        x, y, width, height = one.box
        for name, value in (("xmin", x), ("ymin", y), ("xmax", x + width), ("ymax", y + height)):
            _add(box, name, value)
    ElementTree.indent(root)
    return root


def _add(parent: ElementTree.Element, name: str, value: object) -> None:
    ElementTree.SubElement(parent, name).text = str(value)
