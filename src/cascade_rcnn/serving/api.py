"""The workers of the service: from requests to images, detections and COCO json.

No request fails another one of its batch: a bad one travels through the batch as the `Refused` that answers it.
"""

import base64
import binascii
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import litserve
from fastapi import Request
from fastapi.responses import JSONResponse
from torch import Tensor

from cascade_rcnn.config import Category
from cascade_rcnn.data.segmentations import run_lengths
from cascade_rcnn.decoding import decode_image
from cascade_rcnn.engine.predictor import Precision, Predictor
from cascade_rcnn.errors import UserError
from cascade_rcnn.images import to_tensor
from cascade_rcnn.passes import Found
from cascade_rcnn.passes.interface import rows as select
from cascade_rcnn.text import printable


class Asked(NamedTuple):
    """A request that can be answered."""

    image: Tensor  # (3, H, W) uint8
    threshold: float


class Refused(NamedTuple):
    """A request that cannot be answered, and why."""

    status: int
    reason: str


class Answer(NamedTuple):
    """The detections of an image, and its request."""

    found: Found
    asked: Asked


class DetectionAPI(litserve.LitAPI):
    """Answers `POST /predict` with the detections of one image.

    The request is a form with a file `image`, or JSON whose `image` is base64; both may have a `threshold` (default:
    the service's). The answer is `{"width", "height", "detections": [{"bbox": [x, y, width, height], "score",
    "category_id", "category_name"}, ...]}`, best first, each with a `segmentation` (COCO's compressed run lengths) if
    the model has masks; or status 400 to 422 and `{"error": reason}`.
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
        """`checkpoint` may be an exported file; `batch_wait`: seconds to wait for a batch to fill."""
        super().__init__(max_batch_size=batch_size, batch_timeout=batch_wait)
        self.checkpoint, self.trust = checkpoint, trust
        self.precision: Precision = precision
        self.default_threshold, self.max_megapixels, self.threads = threshold, max_megapixels, threads
        self.batched = batch_size > 1

    def setup(self, device: str) -> None:
        """Load the model, in each worker."""
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        exported = Path(self.checkpoint).suffix in (".onnx", ".xml", ".pt2")
        self.predictor = Predictor(
            self.checkpoint, device=None if exported else device, precision=self.precision, trust=self.trust
        )
        self.categories: Sequence[Category] = self.predictor.config.categories

    def decode_request(self, request: Request) -> Asked | Refused:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Decode the image of a form or JSON object."""
        try:
            return self._decode(request)  # type: ignore[arg-type]  # what arrives here is the form or JSON object
        except UserError as error:
            return Refused(422, printable(str(error)))
        except Exception as error:  # noqa: BLE001  whatever a decoder raises concerns this request alone
            return Refused(422, printable(f"the image cannot be read ({type(error).__name__})"))

    def _decode(self, given: Any) -> Asked | Refused:
        if not isinstance(given, Mapping) or "image" not in given:
            return Refused(400, "send a form with a file 'image', or JSON with 'image' in base64")
        threshold = _number(given.get("threshold", self.default_threshold))
        if threshold is None:
            return Refused(400, "threshold: give a number from 0 to 1")
        data = _content(given["image"])
        if data is None:
            return Refused(400, "image: send a file, or base64 text")
        return Asked(to_tensor(decode_image(io.BytesIO(data), max_megapixels=self.max_megapixels)), threshold)

    def batch(self, inputs: list[Asked | Refused]) -> list[Asked | Refused]:
        """Return the batch unchanged: images may differ in size."""
        return inputs

    def predict(self, x: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Detect in all images of a batch that can be read; if that fails, one by one."""
        rows: list[Asked | Refused] = x if self.batched else [x]
        asked = [row for row in rows if isinstance(row, Asked)]
        found = iter(self._detect(asked))
        answers = [next(found) if isinstance(row, Asked) else row for row in rows]
        return answers if self.batched else answers[0]

    def _detect(self, asked: list[Asked]) -> list[Answer | Refused]:
        if not asked:
            return []
        try:
            found = self.predictor.detect([one.image for one in asked])
            return [Answer(detections, one) for detections, one in zip(found, asked, strict=True)]
        except Exception as error:  # noqa: BLE001  for example, a large image may exhaust memory
            if len(asked) == 1:
                return [Refused(500, printable(f"detection failed ({type(error).__name__})"))]
            return [answer for one in asked for answer in self._detect([one])]

    def encode_response(self, output: Answer | Refused) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Convert detections to COCO json."""
        if isinstance(output, Refused):
            return JSONResponse({"error": output.reason}, status_code=output.status)
        found, asked = output
        found = select(found, found["scores"] >= asked.threshold)
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
        return {"width": asked.image.shape[2], "height": asked.image.shape[1], "detections": detections}


def _number(given: Any) -> float | None:
    try:
        value = float(given)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and 0 <= value <= 1 else None


def _content(given: Any) -> bytes | None:
    if hasattr(given, "file"):  # an uploaded file
        return given.file.read()
    if isinstance(given, str):
        try:
            return base64.b64decode(given.partition(",")[2] if given.startswith("data:") else given, validate=True)
        except (binascii.Error, ValueError):
            return None
    return None
