"""The image inputs that `Detector.predict`, `Predictor` and `Runtime` accept; does not import torch.

One image: a path, the bytes of a file, a file object, a PIL image, an array (H, W) or (H, W, 1 | 3 | 4), or a tensor
(H, W) or (1 | 3 | 4, H, W). Several images: a list of those, a folder, a glob pattern, an array (B, H, W, C) or a
tensor (B, C, H, W). A stream: any other iterable, such as a generator. Values are uint8 0..255, uint16 0..65535 or
floating point 0..1; channels are RGB, and a fourth channel (alpha) is dropped.
"""

import io
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import PIL.Image

from cascade_rcnn.arguments import check_number
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import decode_image
from cascade_rcnn.images.folders import Source, expand, has_wildcard, notes_of
from cascade_rcnn.images.pixels import from_array, from_pil

if TYPE_CHECKING:
    import supervision
    from torch import Tensor

ImageLike: TypeAlias = "str | PathLike[str] | bytes | bytearray | IO[bytes] | PIL.Image.Image | np.ndarray | Tensor"
Detect: TypeAlias = "Callable[[list[Any]], list[supervision.Detections]]"

_FORMS = "give a path, bytes, a file object, a PIL image, an array or a tensor"


def to_array(image: ImageLike) -> np.ndarray:
    """Convert an image to RGB (H, W, 3), uint8 0..255 or float32 0..1. Raises UserError for anything else."""
    match image:
        case str() | PathLike():
            return decode_image(fspath(image), warn=True)
        case bytes() | bytearray():
            return decode_image(io.BytesIO(image), warn=True)
        case PIL.Image.Image():
            return from_pil(image, upright=False, warn=True)  # boxes then fit the pixels that the caller has
        case np.ndarray():
            return from_array(image)
    if is_tensor(image):
        values = image.detach().cpu()  # type: ignore[union-attr]
        array = (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()  # NumPy has no bfloat16
        return from_array(array if array.ndim == 2 else np.moveaxis(array, 0, -1))
    if hasattr(image, "read"):
        return decode_image(image, warn=True)  # type: ignore[arg-type]
    raise UserError(f"cannot read an image from {type(image).__name__}; {_FORMS}")


def is_tensor(image: object) -> bool:
    """Return whether the object is a torch tensor, of a subclass such as torchvision's too, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


class Inputs(NamedTuple):
    """An iterator over the user's images, and whether they are one image, a list or a stream."""

    images: Iterator[ImageLike]
    number: Literal["one", "list", "stream"]

    def map(
        self, detect: Detect, batch_size: int
    ) -> "supervision.Detections | list[supervision.Detections] | Iterator[supervision.Detections]":
        """Return the detections of one image, a list for several, or an iterator for a stream, batch by batch.

        `detect` maps a batch to its detections; `metadata["path"]` is set here for images given by path.
        """
        check_number("batch_size", batch_size, 1, whole=True)
        found = _stream(self.images, detect, batch_size)
        return next(found) if self.number == "one" else list(found) if self.number == "list" else found


def spread(images: Any) -> Inputs:
    """Interpret the user's images. Raises UserError if they are not images."""
    if isinstance(images, str | PathLike):
        path = Path(fspath(images))
        if path.is_dir() or (has_wildcard(path) and not path.exists()):
            left_out = Counter[str]()
            return Inputs(_paths(expand([fspath(images)], left_out=left_out), left_out), "list")
        return Inputs(iter([images]), "one")
    if isinstance(images, np.ndarray) or is_tensor(images):
        return Inputs(iter(images), "list") if images.ndim == 4 else Inputs(iter([images]), "one")
    if isinstance(images, bytes | bytearray | PIL.Image.Image) or hasattr(images, "read"):
        return Inputs(iter([images]), "one")  # type: ignore[list-item]
    if isinstance(images, Iterable) and not isinstance(images, Mapping):
        return Inputs(iter(images), "list" if isinstance(images, Sequence) else "stream")
    raise UserError(f"cannot read images from {type(images).__name__}; {_FORMS}, or several of them")


def _paths(sources: Iterator[Source], left_out: Counter[str]) -> Iterator[Path]:
    yield from (source.path for source in sources)
    for note in notes_of(left_out):
        warnings.warn(note, stacklevel=1)


def _stream(images: Iterator[ImageLike], detect: Detect, batch_size: int) -> "Iterator[supervision.Detections]":
    while batch := list(islice(images, batch_size)):
        for image, found in zip(batch, detect(batch), strict=True):
            if isinstance(image, str | PathLike):
                found.metadata["path"] = fspath(image)
            yield found
