"""Detecting in files: a stream from paths to COCO results and pictures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import PIL.Image
from torch import Tensor

from cascade_rcnn.drawing import draw, to_supervision
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import replacing
from cascade_rcnn.images import EXTENSIONS, ImageLike, read_image


class Source(NamedTuple):
    """An image file, and its name in the results: relative to the folder that was given."""

    path: Path
    name: str


def expand(patterns: Sequence[str | Path]) -> Iterator[Source]:
    """Image files, images below folders, and what globs match, lazily; sorted within a folder.

    Raises UserError, before anything is yielded, for a path or pattern without an image.
    """
    if not patterns:
        raise UserError("no image is named; give image files, folders or glob patterns")
    sources = []
    for pattern in patterns:
        found = _matches(Path(pattern))
        head = next(found, None)
        if head is None:
            raise UserError(f"{pattern}: no image there; give image files, folders or glob patterns")
        sources.append(chain([head], found))
    return chain.from_iterable(sources)


def _matches(path: Path) -> Iterator[Source]:
    if path.is_dir():
        return (Source(p, p.relative_to(path).as_posix()) for p in _walk(path))
    if path.is_file():
        return iter([Source(path, path.name)])
    pattern, root = path.relative_to(path.anchor), Path(path.anchor or ".")
    fixed = list(takewhile(lambda part: not set("*?[") & set(part), pattern.parts))
    if len(fixed) == len(pattern.parts):  # no wildcard: a path that does not exist
        return iter([])
    folder, rest = root.joinpath(*fixed), str(Path(*pattern.parts[len(fixed) :]))
    found = sorted(p for p in folder.glob(rest) if p.is_file())
    return (Source(p, p.relative_to(folder).as_posix()) for p in found)


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            yield from _walk(entry)
        elif entry.suffix.lower() in EXTENSIONS:
            yield entry


def predict_files(
    predictor: Callable[[list[ImageLike]], list[dict[str, Tensor]]],
    categories: list[tuple[int, str]],
    sources: Iterable[Source],
    output: Path,
    *,
    threshold: float = 0.5,
    batch_size: int = 1,
    pictures: bool = True,
    image_ids: dict[str, int] | None = None,
    report: Callable[[str], None] = print,
) -> tuple[int, int]:
    """Detect in one batch after the other: `output/detections.json` and `output/pictures/`; (done, failed) images.

    Memory does not grow with the number of images. The json holds COCO results (all detections, with the file's name;
    image ids from `image_ids` by file name, else 1, 2, ...); pictures show those scored `threshold` or more. An image
    that does not open, or has no id in `image_ids`, is reported and left out. What is found before a Ctrl-C is kept.
    """
    names = [name for _, name in categories]
    numbered = enumerate(sources, start=1)
    done, failed, interrupted = 0, 0, False
    with replacing(output / "detections.json") as aside, aside.open("wb") as file:
        file.write(b"[")
        separator = b"\n"
        try:
            while chunk := list(islice(numbered, batch_size)):
                opened = [one for number, source in chunk if (one := _open(source, number, image_ids, report))]
                failed += len(chunk) - len(opened)
                found = predictor([one.image for one in opened]) if opened else []
                for one, detections in zip(opened, found, strict=True):
                    for row in _rows(detections, one, categories):
                        file.write(separator + msgspec.json.encode(row))
                        separator = b",\n"
                    if pictures:
                        shown = draw(one.image.permute(1, 2, 0).numpy(), to_supervision(detections, names, threshold))
                        _save_picture(shown, output / "pictures" / one.name)
                    done += 1
        except KeyboardInterrupt:
            interrupted = True  # keep what there is
        file.write(b"\n]\n")
    if interrupted:
        report(f"interrupted: {output / 'detections.json'} holds the first {done} images")
        raise KeyboardInterrupt
    return done, failed


class _Opened(NamedTuple):
    image: Tensor
    image_id: int
    name: str


def _open(
    source: Source, number: int, image_ids: dict[str, int] | None, report: Callable[[str], None]
) -> _Opened | None:
    image_id = number if image_ids is None else image_ids.get(source.name)
    try:
        if image_id is None:
            raise UserError(f"{source.path}: the annotations name no '{source.name}', so it has no image id")
        return _Opened(read_image(source.path), image_id, source.name)
    except UserError as error:
        report(f"skipped: {error}")
        return None


def _rows(found: dict[str, Tensor], one: _Opened, categories: list[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    columns = zip(found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True)
    for (x1, y1, x2, y2), score, label in columns:
        yield {
            "image_id": one.image_id,
            "file_name": one.name,
            "category_id": categories[label - 1][0],
            "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(score, 5),
        }


def _save_picture(picture: PIL.Image.Image, path: Path) -> None:
    """Under the image's own name; what is neither JPEG nor PNG becomes PNG."""
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    path = path if jpeg or path.suffix.lower() == ".png" else path.with_name(f"{path.name}.png")
    with replacing(path) as aside:
        picture.save(aside, **({"format": "JPEG", "quality": 92} if jpeg else {"format": "PNG"}))
