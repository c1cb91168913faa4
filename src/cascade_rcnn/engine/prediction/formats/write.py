"""Writing of detections in any of the supported formats."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from cascade_rcnn.arguments import check_choice
from cascade_rcnn.config import Category
from cascade_rcnn.engine.prediction.formats.coco import write_coco, write_cvat
from cascade_rcnn.engine.prediction.formats.kept import Least
from cascade_rcnn.engine.prediction.formats.label_studio import write_label_studio
from cascade_rcnn.engine.prediction.formats.parquet import needs_parquet, write_parquet
from cascade_rcnn.engine.prediction.formats.voc import write_voc, xml_of
from cascade_rcnn.engine.prediction.formats.yolo import text_of, write_yolo
from cascade_rcnn.engine.prediction.journal import Journal
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.folders import picture_of
from cascade_rcnn.text import storable

Format: TypeAlias = Literal["coco", "cvat", "label-studio", "parquet", "voc", "yolo"]

# Files and folders in the output folder; those that exist are replaced.
_NAMES: dict[Format, tuple[str, ...]] = {
    "coco": ("coco.json",),
    "cvat": ("cvat.xml",),
    "label-studio": ("label_studio.json", "label_studio.xml"),
    "parquet": ("detections.parquet",),
    "voc": ("voc",),
    "yolo": ("yolo",),
}
_FILES: dict[Format, Callable[[str], Path]] = {"voc": xml_of, "yolo": text_of}  # one for each image
_XML = ("cvat", "label-studio", "voc")
NAMES = tuple(chain.from_iterable(_NAMES.values()))


def write_formats(
    formats: Sequence[Format], journal: Journal, categories: Sequence[Category], output: Path, least: Least
) -> list[Path]:
    """Write the detections with the minimum score of their category in each format, and return the paths.

    Formats that an earlier prediction has written there are brought up to date as well.

    - coco: `coco.json`, a COCO dataset, which FiftyOne, CVAT, Roboflow and supervision's `DetectionDataset` read
    - cvat: `cvat.xml`, in the format "CVAT for images 1.1"
    - label-studio: `label_studio.json` with tasks and predictions, and `label_studio.xml` with the labelling interface
    - parquet: `detections.parquet`, with one row per detection
    - voc: xml files in the folder `voc`
    - yolo: label files and data.yaml in the folder `yolo`, a dataset once the images are copied to `yolo/images`

    All but parquet include images without detections. Masks are written as run lengths (coco, parquet) or polygons
    (cvat, label-studio, yolo), and left out of voc. Raises UserError if a format cannot represent the images.
    """
    return [_write(form, journal, categories, output, least) for form in all_formats(formats, output)]


def all_formats(formats: Sequence[Format], output: Path) -> list[Format]:
    """Return the formats, without duplicates, followed by those that an earlier prediction has written."""
    there: list[Format] = [one for one, names in _NAMES.items() if (output / names[0]).exists()]
    return list(dict.fromkeys((*formats, *there)))


def check_formats(formats: Sequence[Format]) -> None:
    """Raise UserError for a format that is unknown or needs a missing library: before hours of detection, not after."""
    for form in formats:
        check_choice("formats", form, get_args(Format))
    if "parquet" in formats:
        needs_parquet()


def check_names(formats: Sequence[Format], names: Iterable[str], *, pictures: bool = False) -> None:
    """Raise UserError if two of these images would share a file in one of the formats, or an annotated picture.

    It is for use before detection, not after.
    """
    files = {f"format {form}": (_FILES[form], "choose another format") for form in formats if form in _FILES}
    if pictures:
        files["pictures"] = picture_of, "do without pictures (--no-pictures)"
    owners: dict[tuple[str, Path], str] = {}
    for name in names:
        for kind, (file_of, otherwise) in files.items():
            path = file_of(name)
            if (other := owners.setdefault((kind, path), name)) != name:
                what = f"{other} and {name} would share the file {path.name}"
                raise UserError(f"{kind}: {what}; rename one of them, or {otherwise}")


def _write(form: Format, journal: Journal, categories: Sequence[Category], output: Path, least: Least) -> Path:
    if form in _XML:  # which has no control characters
        categories = [Category(id=one.id, name=storable(one.name)) for one in categories]
    match form:
        case "coco":
            return write_coco(output / "coco.json", journal, categories, least)
        case "label-studio":
            return write_label_studio(output, journal, categories, least)
        case "parquet":
            return write_parquet(output / "detections.parquet", journal, categories, least)
        case "voc":
            return write_voc(output / "voc", journal, categories, least)
        case "yolo":
            return write_yolo(output / "yolo", journal, categories, least)
        case "cvat":
            coco = write_coco(output / ".cvat.json", journal, categories, least, outlined=True)
            try:
                return write_cvat(output / "cvat.xml", coco)
            finally:
                coco.unlink()
