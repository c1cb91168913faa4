"""Load PASCAL VOC datasets: Annotations/*.xml, JPEGImages/, ImageSets/Main/<split>.txt.

The xml files may also be beside their images, in one folder (labelImg) or in one per split (Roboflow), and the folders
may have other usual names (annotations/, xmls/, images/), at the top or in the folder of each split.

Coordinates are used as written: boxes extend from (xmin, ymin) to (xmax, ymax), without -1 or +1. PASCAL itself counted
pixels from 1 and included the last one, but nearly all tools that write this format today count corners from 0. On
PASCAL's own data, boxes are therefore half a pixel too far to the right and down, and one pixel too small, in both
training and evaluation.
"""

from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path

import numpy as np

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.assemble import assemble
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.data.image_files import is_image, walk
from cascade_rcnn.data.names import FileIndex, by_end, parts_of
from cascade_rcnn.data.rotated import rotation_note
from cascade_rcnn.data.sizes import fill_sizes
from cascade_rcnn.data.splits import choose, is_split, splits_of
from cascade_rcnn.data.voc_masks import FOLDER, read_outlines
from cascade_rcnn.data.voc_xml import Record, read_xml
from cascade_rcnn.errors import UserError
from cascade_rcnn.text import count
from cascade_rcnn.text_files import read_lines

_XML_FOLDERS = ("annotations", "annotation", "xmls", "xml")
_IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img")
PARTS = (*_XML_FOLDERS, *_IMAGE_FOLDERS)  # folders of a dataset, in lower case
DEPTHS = ("[!.]*", "[!.]*/[!.]*")  # of a dataset below a given folder: VOC2012 and VOCdevkit/VOC2012


def xml_files(root: Path) -> dict[str, Path]:
    """Return the annotation files of a VOC folder, or of a folder with xml files beside the images, by name."""
    folder = xml_folder(root)
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in walk(folder) if _is_xml(path)}


def xml_folder(root: Path) -> Path:
    """Return Annotations/, or such a folder in another spelling if it has xml files, or else the folder itself."""
    if (root / "Annotations").is_dir():
        return root / "Annotations"
    return next((path for path in _folders(root, _XML_FOLDERS) if any(map(_is_xml, walk(path)))), root)


def _folders(root: Path, names: Sequence[str]) -> list[Path]:
    """Return the subfolders with one of these names, in any case, in the order of the names."""
    found = [path for path in root.glob("*") if path.name.lower() in names and path.is_dir()]
    return sorted(found, key=lambda path: (names.index(path.name.lower()), path.name))


def _is_xml(path: Path) -> bool:
    # GDAL writes a.tif.aux.xml beside aerial images.
    return path.suffix.lower() == ".xml" and not path.name.endswith(".aux.xml")


def voc_splits(root: Path) -> list[str]:
    """Return the splits of a folder: lists in ImageSets/Main (single-class lists last), or else its subfolders."""
    lists = [path.stem for path in _lists(root).glob("[!.]*.txt")]
    if lists:
        return sorted(lists, key=lambda name: (not is_split(name), name))
    return sorted({top for name in xml_files(root) if is_split(top := name.split("/")[0]) and top != name})


def _lists(root: Path) -> Path:
    """Return the folder of the splits' lists: ImageSets/Main, or ImageSets itself, as some tools leave out Main."""
    main = root / "ImageSets" / "Main"
    return main if main.is_dir() else main.parent


def root_of(listed: Path) -> Path | None:
    """Return the dataset's folder if the file is the list of a split, or None."""
    folder = listed.absolute().parent
    root = (folder.parent if folder.name == "Main" else folder).parent
    return root if listed.suffix == ".txt" and _lists(root) == folder else None


def load_voc(
    root: Path,
    split: str | None = None,
    *,
    images_dir: Path | None = None,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    bad_images: BadImages = "stop",
) -> Annotations:
    """Load one split of a PASCAL VOC folder, or all xml files of a folder without splits.

    Classes are collected from all xml files of the folder and sorted by name, so that all splits agree, unless
    `classes` gives them in order. Category ids are 1..M, and `difficult` objects are ignored. With `masks`, masks are
    read from SegmentationObject.
    Raises UserError naming the invalid file and object, or listing the splits if there is no such split.
    """
    files, splits, notes = xml_files(root), voc_splits(root), []
    if not splits and (inner := [path for depth in DEPTHS for path in sorted(root.glob(f"{depth}/ImageSets/Main"))]):
        raise UserError(f"{root}: the dataset is in a folder below it; give {inner[0].parents[1]}")
    if splits:
        split = choose(root, splits, split)
    elif split is not None:
        raise UserError(f"{root}: has no split {split!r}, nor any other; omit the split")
    source = root
    if splits and (listed := _lists(root) / f"{split}.txt").is_file():
        source = listed
        names, notes = _listed(listed, files)
    elif splits:
        source = root / str(split)
        names = [name for name in files if name.startswith(f"{split}/")]
    else:
        names = list(files)
    if classes is None:
        records = _read(files)
        classes = sorted({item.name for record in records.values() for item in record.objects})
    else:
        records = _read({name: files[name] for name in names})
    label = {name: i + 1 for i, name in enumerate(classes)}
    for name in names:
        if unknown := [item.name for item in records[name].objects if item.name not in label]:
            raise UserError(f"{files[name]}: class {unknown[0]!r} is not among {', '.join(classes)}; add or rename it")
    if images_dir is None:
        default = root / "JPEGImages" if (root / "Annotations").is_dir() else root
        images_dir = next(iter(_folders(root, _IMAGE_FOLDERS)), default)
    outlines = root / FOLDER if masks else None
    records = {name: records[name] for name in names}
    return _columns(source, split or "", images_dir, label, records, notes, bad_images, outlines)


def _read(files: Mapping[str, Path]) -> dict[str, Record]:
    """Read all files. Raises UserError with the first invalid object, and the number of invalid files."""
    records, errors = {}, []
    for name, path in files.items():
        try:
            records[name] = read_xml(path)
        except UserError as error:
            errors.append(str(error))
    if errors:
        others = f" ({len(errors)} of {len(files)} xml files are invalid)" if len(errors) > 1 else ""
        raise UserError(f"{errors[0]}{others}")
    return records


def _listed(path: Path, files: Mapping[str, Path]) -> tuple[list[str], list[str]]:
    """Return the xml files named in a split's list, and notes for the user.

    In VOC's single-class lists, a second column is 1 if the class is present, 0 if all its objects are difficult, and
    -1 if it is absent.
    """
    index = FileIndex(Path(), [Path(name) for name in files], split=path.stem)
    found: list[str] = []
    missing: list[str] = []
    without = 0
    lines = [line for line in read_lines(path) if line]
    for line in lines:
        name, _, flag = line.rpartition(" ")
        if flag in ("-1", "0", "1") and name and _xml(index, line) is None:  # an image may be named "scan 1"
            line = name.strip()
            if flag == "-1":
                without += 1
                continue
        xml = _xml(index, line)
        if xml is None:
            missing.append(line)
        else:
            found.append(xml.as_posix())
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(lines)} images have no xml file (first: {missing[0]}); "
            "add it to Annotations or remove the name from the list"
        )
    return found, [f"skipped {without} of {len(lines)} images, marked -1 (without the class)"] if without else []


def _xml(index: FileIndex, name: str) -> Path | None:
    """Return the xml file of a listed name, which may have the suffix of an image or xml file."""
    has_suffix = is_image(Path(name)) or name.endswith(".xml")
    return index.find(name) or (index.find(str(Path(name).with_suffix(""))) if has_suffix else None)


def _columns(
    source: Path,
    split: str,
    images_dir: Path,
    label: dict[str, int],
    records: dict[str, Record],
    notes: Sequence[str],
    bad_images: BadImages,
    outlines: Path | None,
) -> Annotations:
    images = [path for path in walk(images_dir) if is_image(path)] if images_dir.is_dir() else []
    file_names, moved = _image_names(images_dir, images, records, split)
    given = np.array([record.size for record in records.values()], np.int64).reshape(-1, 2)
    sizes, kept, skipped = fill_sizes(str(source), lambda i: images_dir / file_names[i], given, bad_images)
    unsized = int((given < 1).any(axis=1).sum())
    found = [record for record, keep in zip(records.values(), kept, strict=True) if keep]
    objects = [(i, item) for i, record in enumerate(found) for item in record.objects]
    boxes = np.array([item.box for _, item in objects], np.float64).reshape(-1, 4)
    turned = rotation_note(sum(item.rotated for _, item in objects), len(objects))
    lonely = set(images) - {images_dir / name for name in file_names} if source.is_dir() else set()
    lonely = [path for path in lonely if path.is_relative_to(source)]
    unlabelled = [f"skipped {count(len(lonely), 'image')} without an xml file (first: {min(lonely)})"] if lonely else []
    merged = [] if split else _merged(file_names)
    sized = [f"no image size in {count(unsized, 'xml file')}; it is read from the image"] if unsized else []
    return assemble(
        source=source,
        images_dir=images_dir,
        categories=[Category(id=i, name=name) for name, i in label.items()],
        image_ids=np.arange(1, len(records) + 1)[kept],
        image_sizes=sizes[kept],
        file_names=[name for name, keep in zip(file_names, kept, strict=True) if keep],
        box_images=np.array([i for i, _ in objects], np.int64),
        boxes=boxes,
        areas=np.full(len(boxes), np.nan),
        labels=np.array([label[item.name] for _, item in objects], np.int32),
        ignore=np.array([item.difficult for _, item in objects], np.bool_),
        ids=np.arange(1, len(objects) + 1),
        notes=[*notes, *merged, *moved, *sized, *turned, *unlabelled, *skipped],
        segmentations=None
        if outlines is None
        else _outlines(outlines, list(compress(records, kept)), found, sizes[kept]),
    )


def _merged(file_names: Sequence[str]) -> list[str]:
    """Return a note if only the images are divided into splits, not their xml files."""
    folders = {folder for name in file_names for folder in parts_of(name)[:-1] if is_split(folder)}
    if len(splits_of(folders)) < 2:
        return []
    how = "divide the xml files like the images, or list each split in ImageSets/Main/<split>.txt"
    return [f"the images are in folders of splits ({', '.join(sorted(folders))}), but all are read as one; {how}"]


def _outlines(folder: Path, names: Sequence[str], records: Sequence[Record], sizes: np.ndarray) -> list[bytes]:
    found = []
    for name, record, (height, width) in zip(names, records, sizes.tolist(), strict=True):
        found += read_outlines(folder / f"{name}.png", len(record.objects), (height, width))
    return found


def _image_names(
    images_dir: Path, images: Sequence[Path], records: Mapping[str, Record], split: str
) -> tuple[list[str], list[str]]:
    """Return the image of each xml file, and notes for the user.

    It is found by the file's own name first, as many tools write a wrong one into it.
    """
    by_stem = FileIndex(images_dir, images, stems=True, split=split)
    by_name = FileIndex(images_dir, images, split=split)
    bases: dict[str, list[tuple[tuple[str, ...], Path]]] = {}
    for path in images:
        *folders, base = parts_of(str(path.relative_to(images_dir).with_suffix("")))
        bases.setdefault(base, []).append((_without(folders, _IMAGE_FOLDERS), path))
    names, first, number = [], "", 0
    for stem, record in records.items():
        named = _named(stem, record)
        image = _by_stem(by_stem, by_name, stem, named) or (by_name.find(named) if named else None)
        image = image or _parallel(stem, bases)
        names.append(str(image.relative_to(images_dir)) if image else named or f"{stem}.jpg")
        found = Path(names[-1])
        if image and parts_of(named) != parts_of(str(found)) and parts_of(stem) != parts_of(str(found.with_suffix(""))):
            first, number = first or f"that of {stem}.xml is {image}", number + 1
    return names, by_end(number, len(names), first)


def _by_stem(by_stem: FileIndex, by_name: FileIndex, stem: str, named: str) -> Path | None:
    """Return the image with the name of an xml file; of a.jpg and a.png, the one that the file names."""
    try:
        return by_stem.find(stem)
    except UserError:
        if parts_of(str(Path(named).stem)) != parts_of(stem)[-1:] or (image := by_name.find(named)) is None:
            raise
        return image


def _parallel(stem: str, bases: Mapping[str, list[tuple[tuple[str, ...], Path]]]) -> Path | None:
    """Return the image of train/annotations/a.xml in train/images/ or below, None unless there is exactly one."""
    *folders, base = parts_of(stem)
    wanted = _without(folders, _XML_FOLDERS)
    if len(wanted) == len(folders):
        return None
    found = [path for others, path in bases.get(base, ()) if others[: len(wanted)] == wanted]
    return found[0] if len(found) == 1 else None


def _without(folders: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(folder for folder in folders if folder not in names)


def _named(stem: str, record: Record) -> str:
    """Return the name in an xml file, in the folder of the file unless it has one of its own."""
    folder, has_folder = stem.rpartition("/")[0], {"/", "\\"} & set(record.file_name)
    return f"{folder}/{record.file_name}" if folder and record.file_name and not has_folder else record.file_name
