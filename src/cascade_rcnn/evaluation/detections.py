"""Files of detections: COCO results, a list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}.

Files written here also contain `file_name` and `category_name`, which other readers (pycocotools' loadRes) ignore, and
which match them to ground truth with different ids.
"""

import unicodedata
from collections import defaultdict
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.coco import COLUMNS, Array
from cascade_rcnn.files import replacing
from cascade_rcnn.text import printable
from cascade_rcnn.text_files import read_utf8

_FORM = 'give a JSON list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}'


class Result(msgspec.Struct, gc=False, omit_defaults=True):
    """One detection in a results file."""

    bbox: tuple[float, float, float, float]
    score: float
    image_id: int | None = None
    file_name: str | None = None
    category_id: int | None = None
    category_name: str | None = None
    track_id: int | None = None


def load_detections(path: str | Path, truth: Annotations | None = None) -> Array:
    """Read COCO results into (N, 7) float64: image id, x, y, width, height, score, category id.

    With `truth`, entries with `file_name` or `category_name` get the corresponding ids of `truth`, whatever their own
    ids. Raises UserError for any other content, and for names that are not in `truth`.
    """
    path = Path(path)
    try:
        results = msgspec.json.decode(read_utf8(path), type=list[Result], strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not a COCO results file ({error}); {_FORM}") from None
    images = _image_ids(path, results, truth)
    classes = _category_ids(path, results, truth)
    rows = (
        (image, *one.bbox, one.score, category) for one, image, category in zip(results, images, classes, strict=True)
    )
    return np.fromiter(rows, dtype=np.dtype((np.float64, COLUMNS)), count=len(results))


def save_detections(path: str | Path, detections: Array, truth: Annotations | None = None) -> None:
    """Write detections (N, 7) as COCO results, atomically, with the names that `truth` has for their ids.

    Raises UserError if they cannot be written.
    """
    names, classes = {}, {}
    if truth is not None:
        names = {image: printable(truth.file_names[i]) for i, image in enumerate(truth.image_ids.tolist())}
        classes = {category.id: category.name for category in truth.categories}
    results = [
        Result((x, y, w, h), score, int(image), names.get(int(image)), int(category), classes.get(int(category)))
        for image, x, y, w, h, score, category in np.asarray(detections, dtype=np.float64).tolist()
    ]
    with replacing(path) as aside:
        aside.write_bytes(msgspec.json.encode(results))


class FileNames:
    """Finds images of the ground truth by file names that may be relative to another folder."""

    def __init__(self, truth: Annotations) -> None:
        self.source = truth.source
        self._by_base: dict[str, list[tuple[tuple[str, ...], int]]] = defaultdict(list)
        self._names: dict[int, str] = {}  # the names found so far, by the image that they match
        for i, image in enumerate(truth.image_ids.tolist()):
            parts = _parts(truth.file_names[i])
            self._by_base[parts[-1]].append((parts, image))

    def find(self, name: str) -> int | None:
        """Return the id of the image with this name, else of the image such that one name is a suffix of the other.

        None if there is none. Raises UserError if there are several, or if another name matched the same image.
        """
        wanted = _parts(name)
        known = self._by_base.get(wanted[-1], ())
        found = [image for parts, image in known if parts == wanted]
        found = found or [image for parts, image in known if all(map(str.__eq__, reversed(parts), reversed(wanted)))]
        if not found:
            return None
        if len(found) > 1:
            raise UserError(f"{name}: {len(found)} images of {self.source} have this name; give the folder above")
        other = self._names.setdefault(found[0], name)
        if other != name:
            raise UserError(f"{name}: this and {other} match the same image of {self.source}; give the folder above")
        return found[0]


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(unicodedata.normalize("NFC", printable(name)).replace("\\", "/")).parts or ("",)


def _image_ids(path: Path, results: list[Result], truth: Annotations | None) -> list[int]:
    names = FileNames(truth) if truth is not None and any(one.file_name is not None for one in results) else None
    ids: dict[str, int] = {}
    found = []
    for number, one in enumerate(results):
        if names is None or one.file_name is None:
            if one.image_id is None:
                raise UserError(f"{path}: entry {number} has neither image_id nor file_name; {_FORM}")
            found.append(one.image_id)
            continue
        if one.file_name not in ids:
            ids[one.file_name] = _id_of(path, one.file_name, names)
        found.append(ids[one.file_name])
    return found


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


def _category_ids(path: Path, results: list[Result], truth: Annotations | None) -> list[int]:
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
