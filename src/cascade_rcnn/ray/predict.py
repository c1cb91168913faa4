"""The callable that Ray Data maps over batches of encoded images; it returns a row of detections per image."""

from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from cascade_rcnn.arguments import check_number, known_options
from cascade_rcnn.config import InferenceOptions
from cascade_rcnn.data.segmentations import run_lengths
from cascade_rcnn.engine.predictor import Precision, Predictor
from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.images.tensors import to_tensor
from cascade_rcnn.masks import Masks
from cascade_rcnn.passes import Found
from cascade_rcnn.passes.isolate import detect_each
from cascade_rcnn.text import printable

# One row per image; an image that could not be processed has an error, and nulls in all other columns but path.
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("boxes", pa.list_(pa.list_(pa.float32(), 4))),  # x1, y1, x2, y2 in pixels of the image, best score first
        ("scores", pa.list_(pa.float32())),
        ("category_ids", pa.list_(pa.int64())),
        ("categories", pa.list_(pa.string())),
        ("masks", pa.list_(pa.string())),  # COCO's compressed run lengths; null if the model has no masks
        ("error", pa.string()),
    ]
)
_NOTHING: dict[str, Any] = dict.fromkeys(SCHEMA.names)


class Predict:
    """A detector for batches with the columns `path` (string) and `bytes` (an encoded image).

    Pass the class to Ray, each of whose actors creates an instance:
    `dataset.map_batches(Predict, fn_constructor_args=["best.safetensors"], batch_format="pyarrow", concurrency=2)`.
    If an image cannot be decoded, or its row already has an `error`, the result is a row with that error.
    """

    @known_options
    def __init__(
        self,
        checkpoint: str | Path,
        *,
        threshold: float = 0.0,
        device: str | None = None,
        precision: Precision = "fp32",
        threads: int | None = None,
        trust: bool = False,
        **inference: Unpack[InferenceOptions],
    ) -> None:
        """Load the model, with the arguments of `Predictor`.

        `threshold` is the minimum score of detections to keep, and `threads` the number of CPU threads (None: as set
        by Ray).
        """
        check_number("threshold", threshold, 0, 1)
        if threads is not None:
            torch.set_num_threads(threads)
        self.predictor = Predictor(
            checkpoint, device=device, precision=precision, threads=threads, trust=trust, **inference
        )
        self.threshold = threshold

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Convert a table with path, bytes and, optionally, error to a table of `SCHEMA`, in the same order."""
        rows = [self._open(row) for row in batch.to_pylist()]
        found = iter(detect_each(self.predictor.detect, [row["image"] for row in rows if "image" in row]))
        return pa.Table.from_pylist(
            [self._row(row, next(found)) if "image" in row else row for row in rows], schema=SCHEMA
        )

    def _open(self, row: dict[str, Any]) -> dict[str, Any]:
        if row.get("error") is not None:
            return _failed(row["path"], row["error"])
        try:
            return {"path": row["path"], "image": to_tensor(row["bytes"])}
        except Exception as error:  # noqa: BLE001  any decoder error concerns only that image
            return _failed(row["path"], _line(error))

    def _row(self, row: dict[str, Any], found: Found | Exception) -> dict[str, Any]:
        if isinstance(found, Exception):
            return _failed(row["path"], _line(found))
        kept = found["scores"] >= self.threshold
        labels = found["labels"][kept].tolist()
        categories = [self.predictor.config.categories[label - 1] for label in labels]
        return _NOTHING | {
            "path": row["path"],
            "height": row["image"].shape[1],
            "width": row["image"].shape[2],
            "boxes": list(_array(found["boxes"][kept])),
            "scores": _array(found["scores"][kept]),
            "category_ids": [category.id for category in categories],
            "categories": [category.name for category in categories],
            "masks": _counts(found["masks"][kept]) if "masks" in found else None,
        }


def _array(values: Tensor) -> np.ndarray:
    return values.to(torch.float32).numpy()


def _counts(masks: Masks) -> list[str]:
    return [one["counts"].decode() for one in run_lengths(masks)]


def _failed(path: str, why: str) -> dict[str, Any]:
    return _NOTHING | {"path": path, "error": why}


def _line(error: Exception) -> str:
    return printable(reason(error) if isinstance(error, UserError) else f"{type(error).__name__}: {reason(error)}")
