"""The entries of COCO's JSON files, decoded: https://cocodataset.org/#format-data."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from cascade_rcnn.data.foreign import HEAD, tool_of
from cascade_rcnn.errors import UserError
from cascade_rcnn.text_files import not_utf8

_T = TypeVar("_T")
_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Length = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Image(Struct, gc=False, omit_defaults=True):
    """An image; its size may be missing, and in LVIS, only its URL ends in its name."""

    id: _Int64
    file_name: str = ""
    width: _Length | None = None
    height: _Length | None = None
    coco_url: str | None = None

    def __post_init__(self) -> None:
        self.file_name = self.file_name or self.coco_url or ""
        if not self.file_name:
            raise ValueError("Object missing required field `file_name`")


class Box(Struct, gc=False, omit_defaults=True):
    """An annotation without its segmentation; `bbox` is x, y, width, height in pixels."""

    image_id: _Int64
    category_id: _Int64
    bbox: tuple[float, ...] | None = None  # not a list, which garbage collection would visit
    id: _Int64 | str | None = None  # some tools write UUIDs
    area: float | None = None
    iscrowd: int | bool | None = None


class Object(Box, gc=False):
    """An annotation with its segmentation, as text: polygons or run lengths."""

    segmentation: msgspec.Raw = msgspec.Raw(b"null")


class CategoryEntry(Struct, gc=False, omit_defaults=True):
    """A class; names such as digits may be written as numbers."""

    id: _Int64
    name: str | int
    supercategory: Any = None


class File(Struct):
    """A file of detection annotations."""

    images: list[Image]
    categories: list[CategoryEntry]
    annotations: list[Box] = []


class FileWithMasks(File):
    """The same, with segmentations."""

    annotations: list[Object] = []  # pyright: ignore[reportIncompatibleVariableOverride]


def decode(path: Path, text: bytes, kind: type[_T]) -> _T:
    """Decode JSON, ignoring the fields that `kind` lacks. Raises UserError naming the file and the place in it."""
    try:
        # Not strict: accepts ids and sizes that some tool has turned into floats (1.0) or strings ("1").
        return msgspec.json.decode(text, type=kind, strict=False)
    except msgspec.ValidationError as error:
        if (said := tool_of(text[:HEAD])) is not None:
            raise UserError(f"{path}: {said}") from None
        if str(error).endswith("id`") and "`int`, got" in str(error):
            advice = "detections refer to COCO's ids, which are whole numbers: number the images and classes from 1"
            raise UserError(f"{path}: {error}; {advice}") from None
        raise UserError(
            f"{path}: this is not a COCO detection file: {error}; it needs images (id, file_name, width, height), "
            "annotations (image_id, category_id, bbox) and categories (id, name)"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        said = wrong_encoding(text) or f"this is not valid JSON: {error}{around(text, str(error))}; export it again"
        raise UserError(f"{path}: {said}") from None
    except RecursionError:
        raise UserError(f"{path}: this JSON is nested too deeply to be a COCO detection file; check the path") from None


def wrong_encoding(text: bytes) -> str | None:
    """Return what is wrong with JSON that is not UTF-8; None if it is, or if it is no JSON, such as an archive."""
    return not_utf8(text) if text.lstrip().startswith((b"{", b"[")) else None


def around(text: bytes, message: str) -> str:
    """Quote the text around the byte named in the message, such as a NaN written by Python's json module."""
    _, _, position = message.rpartition("(byte ")
    if not position.rstrip(")").isdecimal():
        return ""
    at = int(position.rstrip(")"))
    return f" near {text[max(at - 20, 0) : at + 20].decode(errors='replace')!r}"
