"""Files of COCO results: lists of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}.

Detections with masks also have a `segmentation`: compressed run lengths or, from other tools, polygons.

Files written here also contain `file_name` and `category_name`, so that they can be matched to ground truth with other
ids. Other readers, such as pycocotools' loadRes, ignore these fields.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Self, TypeVar

import hotcoco.mask
import msgspec
import numpy as np

from cascade_rcnn.arguments import as_path
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.coco_json import around, wrong_encoding
from cascade_rcnn.data.segmentations import ABSENT, EMPTY, Segmentations, is_absent, problem
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.coco import Array, check_detections
from cascade_rcnn.evaluation.detected import COLUMNS, Detected
from cascade_rcnn.files import replacing
from cascade_rcnn.rle import RLE
from cascade_rcnn.text import printable, storable
from cascade_rcnn.text_files import read_utf8

Box = tuple[float, float, float, float]
_T = TypeVar("_T")
_FORM = 'give a JSON list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}'


class Outline(msgspec.Struct, gc=False):
    """The run lengths of a detection's mask."""

    size: tuple[int, int]
    counts: str

    @classmethod
    def of(cls, mask: RLE) -> Self:
        """Convert from compressed run lengths in COCO's format."""
        return cls(mask["size"], mask["counts"].decode())


class _Names(msgspec.Struct, gc=False, omit_defaults=True, kw_only=True):
    score: float
    image_id: int | str | None = None  # other tools write a name beside `file_name`
    file_name: str | None = None
    category_id: int | None = None
    category_name: str | None = None


class _Box(_Names, gc=False):
    bbox: Box


class _Mask(_Names, gc=False):
    bbox: Box | None = None  # None: the bounding box of the mask
    segmentation: msgspec.Raw = msgspec.Raw(b"null")


class Result(msgspec.Struct, gc=False, omit_defaults=True):
    """A detection in a results file, as written by this package."""

    bbox: Box
    score: float
    image_id: int | None = None
    file_name: str | None = None
    category_id: int | None = None
    category_name: str | None = None
    segmentation: Outline | None = None
    track_id: int | None = None


def load_detections(path: str | Path, truth: Annotations | None = None) -> Array:
    """Read COCO results into (N, 7) float64: image id, x, y, width, height, score, category id.

    With `truth`, a `file_name` or `category_name` is replaced by its id in `truth`, whatever the entry's own id. Raises
    UserError if the file is not a list of results, or for a name that is not in `truth`.
    """
    path = as_path("detections", path)
    results = _decode(path, read_utf8(path), list[_Box])
    return _rows(path, results, [one.bbox for one in results], truth)


def load_detected(path: str | Path, truth: Annotations) -> Detected:
    """Read COCO results like `load_detections`, together with their masks if `truth` also has masks.

    Entries without a `bbox` get the bounding box of their mask. Raises UserError for an entry that does not fit
    `truth`, or whose mask is unusable, or missing while other entries have one.
    """
    path = as_path("detections", path)
    found = _load_detected(path, truth)
    check_detections(found.rows, truth, path)
    return found


def _load_detected(path: Path, truth: Annotations) -> Detected:
    if truth.segmentations is None:
        return Detected(load_detections(path, truth))
    results = _decode(path, read_utf8(path), list[_Mask])
    if results and not _have_masks(results):  # none at all are none with masks as well
        return Detected(load_detections(path, truth))
    sizes = dict(zip(truth.image_ids.tolist(), truth.image_sizes.tolist(), strict=True))
    boxes, masks = [], []
    for number, (one, image) in enumerate(zip(results, _image_ids(path, results, truth), strict=True)):
        if image not in sizes:
            raise UserError(
                f"{path}: entry {number} has an image id that is not in {truth.source} ({image}); remove it"
            )
        mask = _mask(f"{path}: entry {number}", bytes(one.segmentation), *sizes[image])
        masks.append(mask)
        boxes.append(one.bbox or hotcoco.mask.to_bbox(mask).tolist())
    return Detected(_rows(path, results, boxes, truth), masks)


def have_masks(path: str | Path) -> bool:
    """Return whether any result in a file has a mask. Raises UserError if the file is not a list of results."""
    path = as_path("detections", path)
    return _have_masks(_decode(path, read_utf8(path), list[_Mask]))


def _have_masks(results: Sequence[_Mask]) -> bool:
    return not all(is_absent(bytes(one.segmentation)) for one in results)


def _mask(where: str, text: bytes, height: int, width: int) -> RLE:
    wrong = problem(text, height, width)
    if wrong is not None and wrong not in EMPTY:
        what = "no segmentation, but others have one" if wrong == ABSENT else f"an unusable segmentation, {wrong}"
        raise UserError(f"{where} has {what}; give polygons or run lengths")
    found = Segmentations.of([text]).rle(0, height, width)
    assert found is not None  # since it is not absent
    return found


def _decode(path: Path, text: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(text, type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        said = wrong_encoding(text) or f"not a COCO results file ({error}{around(text, str(error))}); {_FORM}"
        raise UserError(f"{path}: {said}") from None


def _rows(path: Path, results: Sequence[_Names], boxes: Sequence[Sequence[float]], truth: Annotations | None) -> Array:
    images, classes = _image_ids(path, results, truth), _category_ids(path, results, truth)
    columns = zip(results, boxes, images, classes, strict=True)
    rows = ((image, *box, one.score, category) for one, box, image, category in columns)
    return np.fromiter(rows, dtype=np.dtype((np.float64, COLUMNS)), count=len(results))


def save_detections(
    path: str | Path, detections: Array, truth: Annotations | None = None, masks: Sequence[RLE] | None = None
) -> None:
    """Write detections (N, 7) as COCO results, atomically.

    `truth` provides the file and category names of their ids, and `masks` are the masks of the N detections. Raises
    UserError if the file cannot be written.
    """
    names, classes = {}, {}
    if truth is not None:
        names = {image: storable(truth.file_names[i]) for i, image in enumerate(truth.image_ids.tolist())}
        classes = {category.id: category.name for category in truth.categories}
    rows = np.asarray(detections, dtype=np.float64).tolist()
    outlines = [None] * len(rows) if masks is None else map(Outline.of, masks)
    results = [
        Result((x, y, w, h), score, int(image), names.get(int(image)), int(category), classes.get(int(category)), mask)
        for (image, x, y, w, h, score, category), mask in zip(rows, outlines, strict=True)
    ]
    with replacing(path) as aside:
        aside.write_bytes(msgspec.json.encode(results))


class FileNames:
    """An index of ground-truth images by file name, for names that may be relative to another folder."""

    def __init__(self, truth: Annotations) -> None:
        self.source = truth.source
        self._by_base: dict[str, list[tuple[tuple[str, ...], int]]] = defaultdict(list)
        self._names: dict[int, str] = {}  # the names found so far, by the image they match
        for i, image in enumerate(truth.image_ids.tolist()):
            parts = _parts(truth.file_names[i])
            self._by_base[parts[-1]].append((parts, image))

    def find(self, name: str) -> int | None:
        """Return the id of the image with this name or, failing that, of one whose path ends in it or vice versa.

        Returns None if no image matches. Raises UserError if several do, or if another name matched the same image.
        """
        wanted = _parts(name)
        known = self._by_base.get(wanted[-1], ())
        found = [image for parts, image in known if parts == wanted]
        found = found or [image for parts, image in known if all(map(str.__eq__, reversed(parts), reversed(wanted)))]
        if not found:
            return None
        if len(found) > 1:
            raise UserError(f"{name}: {len(found)} images of {self.source} have this name; include its folder")
        other = self._names.setdefault(found[0], name)
        if other != name:
            raise UserError(f"{name}: matches the same image of {self.source} as {other}; include their folders")
        return found[0]


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(unicodedata.normalize("NFC", printable(name)).replace("\\", "/")).parts or ("",)


def _image_ids(path: Path, results: Sequence[_Names], truth: Annotations | None) -> list[int]:
    names = FileNames(truth) if truth is not None and any(one.file_name is not None for one in results) else None
    ids: dict[str, int] = {}
    found = []
    for number, one in enumerate(results):
        if names is None or one.file_name is None:
            found.append(_number(f"{path}: entry {number}", one.image_id))
            continue
        if one.file_name not in ids:
            ids[one.file_name] = _id_of(path, one.file_name, names)
        found.append(ids[one.file_name])
    return found


def _number(where: str, image_id: int | str | None) -> int:
    if image_id is None:
        raise UserError(f"{where} has neither image_id nor file_name; {_FORM}")
    try:
        return int(image_id)
    except ValueError:
        what = "which is not the number of an image; write it as file_name"
        raise UserError(f"{where} has image_id {image_id!r}, {what}, with its suffix such as .jpg") from None


def _id_of(path: Path, name: str, names: FileNames) -> int:
    try:
        image = names.find(name)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if image is None:
        raise UserError(
            f"{path}: {name} is not an image of {names.source}; evaluate on annotations of the images that were "
            "predicted, or predict only those images (predict --annotations)"
        )
    return image


def _category_ids(path: Path, results: Sequence[_Names], truth: Annotations | None) -> list[int]:
    known = defaultdict(list)
    for category in truth.categories if truth is not None else ():
        known[category.name].append(category.id)
    found = []
    for number, one in enumerate(results):
        name, own = one.category_name, one.category_id
        ids = known.get(name, []) if name is not None and truth is not None else None
        if ids is None or own in ids:
            if own is None:
                raise UserError(f"{path}: entry {number} has no category_id; {_FORM}")
            found.append(own)
        elif len(ids) == 1:
            found.append(ids[0])
        else:
            raise UserError(
                f"{path}: entry {number} is of class '{name}', which {truth.source if truth else ''} "
                f"{'has twice' if ids else 'does not have'}; evaluate on annotations with the model's classes"
            )
    return found
