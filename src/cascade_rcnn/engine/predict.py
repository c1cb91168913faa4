"""Detecting in files: a picklable predictor, and a stream from paths to COCO results and pictures."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from cascade_rcnn.drawing import draw, to_supervision
from cascade_rcnn.engine.checkpoint import load
from cascade_rcnn.engine.evaluate import Precision, autocast
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import replacing
from cascade_rcnn.images import EXTENSIONS, ImageLike, read_image, to_tensor
from cascade_rcnn.models.detector import Detector


class Predictor:
    """A detector by its checkpoint: a call maps a list of images to a list of dicts, as torchvision's detectors do.

    It pickles as a path and a few settings and loads the model where it is first called, so that a pool of processes
    or a Ray data pipeline can map it over shards.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        device: str | None = None,
        precision: Precision = "fp32",
        **inference: Any,
    ) -> None:
        """`inference`: what `cascade_rcnn.load` may override. The device defaults to a GPU where there is one."""
        self.checkpoint, self.device, self.inference = Path(checkpoint), device, inference
        self.precision: Precision = precision
        self._model: Detector | None = None

    @property
    def model(self) -> Detector:
        """The detector, loaded on first use."""
        if self._model is None:
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._model = load(self.checkpoint, device=device, **self.inference)
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None}

    @torch.inference_mode()
    def __call__(self, images: list[ImageLike]) -> list[dict[str, Tensor]]:
        """Paths, PIL images, arrays or tensors -> dicts `boxes` (N, 4), `scores` (N,), `labels` (N,), on the CPU."""
        model = self.model
        with autocast(next(model.parameters()).device, self.precision):
            found = model([to_tensor(image) for image in images])
        return [{name: value.cpu() for name, value in one.items()} for one in found]


def expand(patterns: Iterable[str | Path]) -> Iterator[Path]:
    """Image files, everything with an image's extension below folders, and what globs match; sorted, lazily.

    Raises UserError for a path or pattern that yields nothing.
    """
    for pattern in patterns:
        path, found = Path(pattern), False
        if path.is_dir():
            candidates: Iterable[Path] = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS)
        elif path.is_file():
            candidates = [path]
        else:
            root = Path(path.anchor or ".")
            candidates = sorted(root.glob(str(path.relative_to(path.anchor)) if path.anchor else str(path)))
        for candidate in candidates:
            found = True
            yield candidate
        if not found:
            raise UserError(f"{pattern}: no image there; give image files, folders or glob patterns")


def predict_files(
    predictor: Callable[[list[ImageLike]], list[dict[str, Tensor]]],
    categories: list[tuple[int, str]],
    paths: Iterable[Path],
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
    that does not open is reported and left out.
    """
    done = failed = 0
    names = [name for _, name in categories]
    with ExitStack() as stack:
        aside = stack.enter_context(replacing(output / "detections.json"))
        file = stack.enter_context(aside.open("wb"))
        file.write(b"[")
        separator = b"\n"
        paths = iter(paths)
        while chunk := list(islice(paths, batch_size)):
            opened = []
            for path in chunk:
                try:
                    opened.append((path, read_image(path)))
                except UserError as error:
                    failed += 1
                    report(f"skipped: {error}")
            if not opened:
                continue
            for (path, image), found in zip(opened, predictor([image for _, image in opened]), strict=True):
                done += 1
                image_id = done if image_ids is None else image_ids.get(path.name, done)
                for result in _results(found, image_id, path.name, categories):
                    file.write(separator + msgspec.json.encode(result))
                    separator = b",\n"
                if pictures:
                    shown = draw(image.permute(1, 2, 0).numpy(), to_supervision(found, names, threshold))
                    with replacing(output / "pictures" / f"{path.stem}.jpg") as picture:
                        shown.save(picture, format="JPEG", quality=92)
        file.write(b"\n]\n")
    return done, failed


def _results(found: dict[str, Tensor], image_id: int, name: str, categories: list[tuple[int, str]]) -> Iterator[dict]:
    rows = zip(found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True)
    for (x1, y1, x2, y2), score, label in rows:
        box = [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)]
        yield {
            "image_id": image_id,
            "file_name": name,
            "category_id": categories[label - 1][0],
            "bbox": box,
            "score": round(score, 5),
        }


def first(paths: Iterator[Path]) -> Iterator[Path]:
    """The same paths, but with the error of an empty list raised now rather than after the model has loaded."""
    return chain([next(paths)], paths)
