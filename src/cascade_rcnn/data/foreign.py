"""Annotations in other tools' own formats, which are not read: what they are, and what to do about it."""

import re
from itertools import islice
from pathlib import Path

from cascade_rcnn.data.image_files import walk
from cascade_rcnn.errors import UserError
from cascade_rcnn.text_files import check_regular

HEAD = 2**20  # bytes of a file that are looked at
_IMAGES = re.compile(rb'"images"\s*:\s*\[')  # of COCO
_IMPORTED = re.compile(r"([0-9a-f]{8}-).+")
_FILES, _JSON_FILES = 1000, 20  # in a folder
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_TABLES = (".csv", ".jsonl", ".ndjson", ".manifest", ".tfrecord", ".record", ".parquet")
_EXPORT = "export COCO from it instead"
# Keys that occur together in the JSON of one tool only; the tool, and how to go on.
_TOOLS = (
    ((b"shapes", b"imagePath"), "labelme", "convert it with `labelme2coco`"),
    ((b"shape_attributes", b"region_attributes"), "VIA", "choose 'Export Annotations (COCO format)' there"),
    ((b"classTitle", b"geometryType"), "Supervisely", "run its app 'Export to COCO'"),
    ((b"from_name", b"to_name"), "Label Studio", "export COCO or YOLO from it instead"),
    ((b"rectanglelabels", b"original_width"), "Label Studio", "export COCO or YOLO from it instead"),
    ((b"coordinates", b"label", b"image"), "CreateML", _EXPORT),
    ((b"items", b"label_id"), "Datumaro", "export COCO instead, or convert it with `datum convert -f coco`"),
    ((b"samples", b"filepath"), "FiftyOne", "export it as `fiftyone.types.COCODetectionDataset`"),
    ((b"schema_ref", b"slots"), "V7 Darwin", _EXPORT),
    ((b"asset", b"regions"), "VoTT", "export Pascal VOC from it instead"),
)
_CONVERT = "convert it to COCO, Pascal VOC or YOLO"
# A line of the text files of one dataset or tool; whose it is, and how to go on.
_LINES = (
    (  # four corners, class, difficult
        re.compile(rb"(-?[0-9.]+\s+){8}(?![-0-9.]+\s)\S+\s+[0-9]\s*"),
        "DOTA",
        "convert it to COCO, or to YOLO with ultralytics' `convert_dota_to_yolo_obb`",
    ),
    (re.compile(rb"(-?[0-9]+ ){9}-?[0-9]+\s*"), "WIDER FACE", _CONVERT),  # box and six attributes
    (re.compile(rb"[A-Za-z]\S*( -?[0-9.]+){14,15}\s*"), "KITTI", _CONVERT),  # class, three of view, box, 3D, score
    (re.compile(rb"(-?[0-9]+,){7}-?[0-9]+,?\s*"), "VisDrone", _CONVERT),  # box, score, class, two attributes
    (re.compile(rb"[0-9]+,-?[0-9]+(, ?-?[0-9.]+){7,8}\s*"), "MOTChallenge", _CONVERT),  # frame, track, box, four more
    (re.compile(rb"(-?[0-9]+,){8}.*[^\W0-9].*"), "ICDAR", _CONVERT),  # four corners, the text
)
_FIRST_LINES = 3  # two of them may be a header


def tool_of(head: bytes) -> str | None:
    """Return whose format JSON is in, and what to do about it; None unless it begins like that of another tool.

    >>> tool_of(b'{"version": "5.4", "shapes": [], "imagePath": "a.jpg"}')
    "labelme's own format is not read; convert it with `labelme2coco`"
    """
    if _IMAGES.search(head):
        return None
    for keys, tool, advice in _TOOLS:
        if all(re.search(rb'"%s"\s*:' % key, head) for key in keys):
            return _not_read(tool, advice)
    return None


def _not_read(whose: str, advice: str) -> str:
    return f"{whose}'s own format is not read; {advice}"


def imported_name(name: str) -> str:
    """Return a remark on the name of a file if Label Studio has prefixed it, as it does with images it imports.

    >>> imported_name("0a1b2c3d-cat.jpg")
    '; Label Studio has added 0a1b2c3d- to its name: give its own copy of the image, or rename yours'
    >>> imported_name("cat.jpg")
    ''
    """
    found = _IMPORTED.fullmatch(name)
    added = f"; Label Studio has added {found[1]} to its name" if found else ""
    return added and f"{added}: give its own copy of the image, or rename yours"


def advice_on(path: Path) -> str | None:
    """Return what the files at a path are, and what to do about it; None if they are not known either."""
    if not path.is_dir():
        return _of_suffix(path)
    try:
        files = list(islice(walk(path), _FILES))
    except UserError:
        return None
    texts = (file for file in files if file.suffix.lower() == ".json")
    found = ((file, tool_of(head_of(file))) for file in islice(texts, _JSON_FILES))
    others = ((file, _of_suffix(file)) for file in files)
    named = next(((file, said) for pairs in (found, others) for file, said in pairs if said), None)
    return named and f"{named[0].relative_to(path)}: {named[1]}"


def head_of(path: Path) -> bytes:
    """Return the beginning of a file, nothing if it cannot be read."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            return file.read(HEAD)
    except (OSError, ValueError):
        return b""


def _of_suffix(path: Path) -> str | None:
    if path.suffix.lower() in _ARCHIVES:
        return "this is an archive; unpack it, and give its folder"
    if path.suffix.lower() == ".txt":
        lines = head_of(path).splitlines()[:_FIRST_LINES]
        return next((_not_read(whose, how) for form, whose, how in _LINES if any(map(form.fullmatch, lines))), None)
    if path.suffix.lower() in _TABLES:
        return f"{path.suffix} files are not read; export or convert the annotations to COCO, Pascal VOC or YOLO"
    return None
