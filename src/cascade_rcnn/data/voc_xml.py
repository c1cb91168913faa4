"""Read one annotation file in PASCAL VOC's format."""

import codecs
import math
import re
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from cascade_rcnn.data.rotated import Box, degrees, upright
from cascade_rcnn.errors import UserError
from cascade_rcnn.text_files import check_regular, not_utf8

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LARGEST = 2**31 - 1
_YES = ("1", "true", "yes")  # PASCAL writes 1
_OUTLINES = ("polygon", "robndbox")  # of LabelMe and Labelbox, and of roLabelImg
_ENCODING = re.compile(rb"""\s*<\?xml[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]+)""")
_MULTIBYTE = ("gb2312", "gbk", "gb18030", "big5", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949")


class Object(NamedTuple):
    """An object of an annotation file."""

    name: str
    box: Box  # XYWH
    difficult: bool
    rotated: bool  # the file has the box before its rotation


class Record(NamedTuple):
    """The content of an annotation file."""

    file_name: str
    size: tuple[int, int]  # height and width; 0 if missing in the file
    objects: list[Object]


def read_xml(path: Path) -> Record:
    """Read an annotation file. Raises UserError naming the file and the invalid object."""
    data = b""
    try:
        check_regular(path)
        data = path.read_bytes()
        tree: Element = defusedxml.ElementTree.fromstring(_decoded(data))
    except (ParseError, DefusedXmlException, OSError, ValueError, LookupError) as error:  # LookupError: the encoding
        if isinstance(error, UserError):
            raise
        declared = _ENCODING.match(data)
        said = not_utf8(data) if declared is None or declared[1].lower() == b"utf-8" else None
        raise UserError(f"{path}: {said or f'cannot parse this xml file ({error}); correct or remove it'}") from None
    root = tree.tag
    for element in tree.iter():  # some tools write <Object>, or a namespace
        element.tag = element.tag.rpartition("}")[2].lower()
    if tree.tag == "annotations" and {"image", "track"}.intersection(child.tag for child in tree):
        raise UserError(f"{path}: CVAT's own format is not read; export COCO 1.0 or Pascal VOC 1.1 from it instead")
    if tree.tag != "annotation":
        raise UserError(f"{path}: not a PASCAL VOC annotation (its root is <{root}>); remove it from the folder")
    if len(tree.findall(".//bndbox")) > len(tree.findall("object//bndbox")):
        raise UserError(f"{path}: a bndbox is in no <object> of the <annotation>; give each box an <object> of its own")
    size = [round(_number(path, "size", tree.findtext(f"size/{name}") or "0")) for name in ("height", "width")]
    if max(size) > _LARGEST:
        raise UserError(f"{path}: size is {max(size):g}; write the image's height and width in pixels")
    return Record(
        file_name=(tree.findtext("filename") or "").strip(),
        size=(size[0], size[1]) if min(size) > 0 else (0, 0),
        objects=[_read_object(path, i, item) for i, item in enumerate(tree.findall("object"))],
    )


def _decoded(data: bytes) -> bytes | str:
    """Decode a file in an encoding of several bytes per character, such as GB2312, which the parser cannot read."""
    declared = _ENCODING.match(data)
    name = codecs.lookup(declared[1].decode()).name if declared else "utf-8"
    return data.decode(name) if name in _MULTIBYTE else data


def _read_object(path: Path, i: int, item: Element) -> Object:
    name = (item.findtext("name") or "").strip()
    if not name:
        raise UserError(f"{path}: object {i} has no name; add its class")
    if (number := len(item.findall("bndbox"))) != 1:
        others = [child.tag for child in item if child.tag in _OUTLINES]
        instead = f", but a <{others[0]}>" if others else ""
        raise UserError(f"{path}: object {i}, {name}, has {number or 'no'} bndbox{instead}; give it one")
    x1, y1, x2, y2 = (_number(path, f"object {i}, {key}", item.findtext(f"bndbox/{key}")) for key in _CORNERS)
    box, angle = (x1, y1, x2 - x1, y2 - y1), degrees(_attribute(item, "rotation"))
    rotated = angle % 180 != 0
    difficult = (item.findtext("difficult") or "").strip().lower() in _YES
    return Object(name, upright(box, angle) if rotated else box, difficult, rotated)


def _attribute(item: Element, name: str) -> str | None:
    """Return the value of an attribute that CVAT has added to an object."""
    found = (one for one in item.findall("attributes/attribute") if one.findtext("name") == name)
    return next((one.findtext("value") for one in found), None)


def _number(path: Path, where: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{path}: {where} is {text!r}; write a number")
    return value
