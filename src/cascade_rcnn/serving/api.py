"""The workers of the service, which turn requests into images, detections and COCO JSON.

A bad request does not affect the others in its batch: it stays in the batch as the `Rejection` that will answer it.
"""

import base64
import binascii
import io
import math
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import litserve
from fastapi import Request
from fastapi.responses import JSONResponse
from torch import Tensor

from cascade_rcnn.config import Category
from cascade_rcnn.data.segmentations import run_lengths
from cascade_rcnn.engine.predictor import Precision, Predictor
from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn.images.decoding import holds_more, open_image
from cascade_rcnn.images.folders import notes_of
from cascade_rcnn.images.pixels import from_pil, is_dark
from cascade_rcnn.images.tensors import to_tensor
from cascade_rcnn.passes import Found
from cascade_rcnn.passes.interface import rows as select
from cascade_rcnn.passes.isolate import detect_each
from cascade_rcnn.results import check_reach
from cascade_rcnn.runtime import is_exported
from cascade_rcnn.text import printable

_FIELDS = ("image", "threshold")


class ImageRequest(NamedTuple):
    """A valid request."""

    image: Tensor  # (3, H, W) uint8
    threshold: float
    notes: list[str]


class Rejection(NamedTuple):
    """The answer to a request that cannot be processed."""

    status: int  # of HTTP
    reason: str


class Answer(NamedTuple):
    """The detections in an image, and its request."""

    found: Found
    request: ImageRequest


class DetectionAPI(litserve.LitAPI):
    """The API that answers `POST /predict` with the detections in one image.

    The request is a form with a file `image`, or JSON with `image` in base64; both may have a `threshold` (default:
    the service's). The answer is `{"width", "height", "detections": [{"bbox": [x, y, width, height], "score",
    "category_id", "category_name"}, ...]}` in pixels, best score first, each with a `segmentation` (COCO's compressed
    run lengths) if the model predicts masks. If something was not done as may have been meant, it also has `notes`, a
    list of texts. A bad request gets a status from 400 to 422 and `{"error": reason}`.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        threshold: float = 0.5,
        precision: Precision = "fp32",
        trust: bool = False,
        max_megapixels: float = 50,
        batch_size: int = 1,
        batch_wait: float = 0.01,
        threads: int | None = None,
    ) -> None:
        """Configure the workers; nothing is loaded yet.

        `checkpoint` may be an exported file. `batch_wait` is the time in seconds to wait for a batch to fill, and
        `threads` the number of CPU threads per worker (None: torch's default).
        """
        super().__init__(max_batch_size=batch_size, batch_timeout=batch_wait)
        self.checkpoint, self.trust = checkpoint, trust
        self.precision: Precision = precision
        self.default_threshold, self.max_megapixels, self.threads = threshold, max_megapixels, threads
        self.batched = batch_size > 1

    def setup(self, device: str) -> None:
        """Load the model; called in each worker."""
        import torch

        # Ctrl-C in a terminal reaches all processes: that of the server ends the workers, once they have answered.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        exported = is_exported(self.checkpoint)
        self.predictor = Predictor(
            self.checkpoint,
            device=None if exported else device,
            precision=self.precision,
            threads=self.threads,
            trust=self.trust,
        )
        self.categories: Sequence[Category] = self.predictor.config.categories

    def decode_request(self, request: Request) -> ImageRequest | Rejection:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Decode the image in a form or JSON object."""
        try:
            return self._decode(request)  # type: ignore[arg-type]  # LitServe passes the form or JSON object
        except UserError as error:
            return Rejection(422, printable(str(error)))
        except Exception as error:  # noqa: BLE001  any decoder error concerns this request alone
            return Rejection(422, printable(f"the image cannot be read ({type(error).__name__})"))

    def _decode(self, given: Any) -> ImageRequest | Rejection:
        if not isinstance(given, Mapping) or "image" not in given:
            return Rejection(400, "send a form with a file 'image', or JSON with 'image' in base64")
        if (other := next((name for name in given if name not in _FIELDS), None)) is not None:
            only = f"send only {' and '.join(_FIELDS)}{nearest(other, _FIELDS)}"
            return Rejection(400, printable(f"unknown field '{other}'; {only}"))
        several = getattr(given, "getlist", None)  # of a form
        if several is not None and len(several("image")) > 1:
            return Rejection(400, "send one image per request; --batch-size batches requests")
        if several is not None and len(several("threshold")) > 1:
            return Rejection(400, "threshold: give one number per request")
        threshold = _number(given.get("threshold", self.default_threshold))
        if threshold is None:
            return Rejection(400, "threshold: give a number from 0 to 1")
        data = _content(given["image"])
        if data is None:
            return Rejection(400, "image: send a file, or base64 text")
        with open_image(io.BytesIO(data), self.max_megapixels) as image:
            in_part = holds_more(image)
            pixels = from_pil(image)
            notes = notes_of(Counter(), int(in_part), int(is_dark(image)))
        if "threshold" in given:  # the service's own was noted when it started
            notes += check_reach(threshold, self.predictor.config.inference.score_threshold)
        return ImageRequest(to_tensor(pixels), threshold, notes)

    def batch(self, inputs: list[ImageRequest | Rejection]) -> list[ImageRequest | Rejection]:
        """Return the batch as a list, since its images may differ in size."""
        return inputs

    def predict(self, x: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Detect in all valid requests of a batch together or, if that fails, one by one."""
        batch: list[ImageRequest | Rejection] = x if self.batched else [x]
        images = [one.image for one in batch if isinstance(one, ImageRequest)]
        found = iter(detect_each(self.predictor.detect, images))
        answers = [_answer(one, next(found)) if isinstance(one, ImageRequest) else one for one in batch]
        return answers if self.batched else answers[0]

    def encode_response(self, output: Answer | Rejection) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Convert detections to COCO JSON."""
        if isinstance(output, Rejection):
            return JSONResponse({"error": output.reason}, status_code=output.status)
        found, request = output
        found = select(found, found["scores"] >= request.threshold)
        rows = zip(found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True)
        detections = [
            {
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
                "category_id": self.categories[label - 1].id,
                "category_name": self.categories[label - 1].name,
            }
            for (x1, y1, x2, y2), score, label in rows
        ]
        if "masks" in found:
            for one, mask in zip(detections, run_lengths(found["masks"]), strict=True):
                one["segmentation"] = {"size": mask["size"], "counts": mask["counts"].decode()}
        answer = {"width": request.image.shape[2], "height": request.image.shape[1], "detections": detections}
        return answer | ({"notes": request.notes} if request.notes else {})


def _answer(request: ImageRequest, found: Found | Exception) -> Answer | Rejection:
    if isinstance(found, Exception):
        return Rejection(500, printable(f"detection failed ({type(found).__name__})"))
    return Answer(found, request)


def _number(given: Any) -> float | None:
    try:
        value = float(math.nan if isinstance(given, bool) else given)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and 0 <= value <= 1 else None


def _content(given: Any) -> bytes | None:
    if hasattr(given, "file"):  # an uploaded file
        return given.file.read()
    if isinstance(given, str):
        text = given.partition(",")[2] if given.startswith("data:") else given
        try:
            return base64.b64decode("".join(text.split()), validate=True)  # encoders may break lines
        except (binascii.Error, ValueError):
            return None
    return None
