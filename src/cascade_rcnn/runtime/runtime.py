"""Run an exported detector: what `Detector` does around its dense graph, in NumPy.

B images · D detections
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from cascade_rcnn.arguments import as_path, check_number
from cascade_rcnn.config import ModelConfig, PreprocessConfig
from cascade_rcnn.errors import UserError, is_out_of_memory, reason
from cascade_rcnn.images.inputs import ImageLike, spread, to_array
from cascade_rcnn.images.resizing import padded_size, resize, resized_size
from cascade_rcnn.pasting import paste_crops
from cascade_rcnn.results import to_supervision, warn_of_reach
from cascade_rcnn.runtime.description import Description
from cascade_rcnn.runtime.sessions import open_session
from cascade_rcnn.text import count

if TYPE_CHECKING:
    import supervision

_LEAST = 96  # minimum height and width of dynamic graphs, in pixels, before rounding up to the divisor


class Runtime:
    """Detection with a file written by `cascade-rcnn export`, without torch.

    `runtime(images)` returns the same `supervision.Detections` as `cascade_rcnn.load(...).predict(images)`.

    >>> runtime = Runtime("starter.pt2", trust=True)
    >>> len(runtime("photo.jpg")) > 0
    True
    """

    def __init__(self, path: str | Path, *, threads: int | None = None, trust: bool = False) -> None:
        """Open a .onnx, .xml (OpenVINO) or .pt2 (torch) file. Raises UserError if it cannot be used.

        A .pt2 file is a program, and opening it may run any code that its author put there: pass `trust` only for files
        from sources you trust.
        """
        if threads is not None:
            check_number("threads", threads, 1, whole=True)
        self.path, self.threads, self.trust = as_path("path", path), threads, trust
        self.description, self._run = open_session(self.path, threads, trust=trust)
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "threads": self.threads, "trust": self.trust}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    @property
    def config(self) -> ModelConfig:
        """The model's config."""
        return self.description.config

    @property
    def class_names(self) -> list[str]:
        """The names of labels 1..M, in order."""
        return self.config.class_names

    @overload
    def __call__(self, images: ImageLike, threshold: float = 0.5, batch_size: int = 1) -> "supervision.Detections": ...
    @overload
    def __call__(
        self, images: list[Any], threshold: float = 0.5, batch_size: int = 1
    ) -> "list[supervision.Detections]": ...
    @overload
    def __call__(
        self, images: Iterator[Any], threshold: float = 0.5, batch_size: int = 1
    ) -> "Iterator[supervision.Detections]": ...

    def __call__(self, images: Any, threshold: float = 0.5, batch_size: int = 1) -> Any:
        """Detect objects in one or several images, like `Detector.predict`.

        A file with a fixed input size processes one image at a time, whatever the `batch_size`.
        """
        check_number("threshold", threshold, 0, 1)
        warn_of_reach(threshold, self.config.inference.score_threshold)

        def detect(batch: list[ImageLike]) -> "list[supervision.Detections]":
            found = self._detect_all([to_array(image) for image in batch], threshold)
            return [to_supervision(one, self.class_names, threshold) for one in found]

        return spread(images).map(detect, batch_size)

    def detect(self, arrays: Sequence[np.ndarray] | np.ndarray) -> list[dict[str, np.ndarray]]:
        """Detect objects in RGB arrays (H, W, 3) or grey ones (H, W), and return all detections in each, in a list.

        Arrays are uint8, uint16 or floating point 0..1; one array counts as a list of one. Detections are dicts as in
        torchvision, sorted by score, with `boxes` (N, 4), XYXY in pixels of the input image, `scores` (N,), `labels`
        (N,) in 1..M and, if the model has masks, `masks` (N, H, W) bool. Raises UserError for other arrays.
        """
        return self._detect_all([to_array(array) for array in spread(arrays).images], 0.0)

    def _detect_all(self, arrays: Sequence[np.ndarray], threshold: float) -> list[dict[str, np.ndarray]]:
        """Return detections with scores of at least `threshold`; a fixed input takes images one by one."""
        if self.description.size is None and len(arrays) > 0:
            return self._detect(arrays, threshold)
        return [found for array in arrays for found in self._detect([array], threshold)]

    def _detect(self, arrays: Sequence[np.ndarray], threshold: float) -> list[dict[str, np.ndarray]]:
        pixels, sizes = prepare(arrays, self.config.preprocess, self.description.size, self.description.divisor)
        boxes, scores, labels, *masks = self.run(pixels, sizes)
        found = []
        for k, array in enumerate(arrays):
            real = (labels[k] > 0) & (scores[k] >= threshold)
            height, width = array.shape[:2]
            scale = np.array([width, height] * 2, dtype=np.float32) / np.tile(sizes[k, ::-1], 2)
            box = np.clip(boxes[k][real] * scale, 0, np.array([width, height] * 2, dtype=np.float32))
            found.append({"boxes": box, "scores": scores[k][real], "labels": labels[k][real]})
            if masks:
                found[-1]["masks"] = self._paste(masks[0][k][real], box, height, width)
        return found

    def _paste(self, maps: np.ndarray, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
        full = np.zeros((len(maps), height, width), dtype=bool)
        pasted = paste_crops(maps, boxes, height, width, whole=self.config.pastes_whole_pixels)
        for slot, ((x, y, x_end, y_end), crop) in zip(full, pasted, strict=True):
            slot[y:y_end, x:x_end] = crop
        return full

    def run(self, images: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run the graph on images (B, 3, H, W), float32 RGB 0..255, padded with the mean; sizes (B, 2) before padding.

        Returns boxes (B, D, 4) in pixels of this input, scores (B, D), labels (B, D); label 0 marks empty slots. If
        the model has masks, the fourth output is their probabilities in each box: (B, D, S, S). Raises UserError for
        other inputs, as some engines compute something from them, and if the engine fails.
        """
        check_input(images, sizes, self.description)
        if self._process != os.getpid():
            raise UserError(
                f"{self.path}: was opened before this process was forked, which does not copy the engine's threads; "
                "start processes with 'spawn' (multiprocessing.get_context('spawn'))"
            )
        try:
            found = self._run(images, sizes)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            advice = "if another tool has changed the file, export it again"
            raise UserError(f"{self.path}: the engine failed ({reason(error)}); {advice}") from None
        if (label := found[2].max(initial=0)) > self.config.num_classes:
            raise UserError(
                f"{self.path}: found an object of class {label}, but its description names only "
                f"{count(self.config.num_classes, 'class')}; export it again"
            )
        return found


def check_input(images: np.ndarray, sizes: np.ndarray, description: Description) -> None:
    """Raise UserError unless the arrays are what the graph takes."""
    fixed, step = description.size, description.divisor
    arrays = (images, sizes)
    right = all(isinstance(one, np.ndarray) and one.dtype == np.float32 for one in arrays)
    right = right and images.ndim == 4 and images.shape[1] == 3 and len(images) > 0 and sizes.shape == (len(images), 2)
    if right:
        shape = images.shape[2:]
        known = all(side % step == 0 and side >= least(step) for side in shape) if fixed is None else shape == fixed
        right = known and (fixed is None or len(images) == 1) and bool(((sizes >= 0) & (sizes <= shape)).all())
    if not right:
        given = " and ".join(f"{np.shape(one)} of {getattr(one, 'dtype', type(one).__name__)}" for one in arrays)
        sides = f"multiples of {step} from {least(step)} on" if fixed is None else f"{fixed[0]} and {fixed[1]}, and B 1"
        raise UserError(
            f"images and sizes are {given}; this graph takes (B, 3, H, W) and (B, 2) of float32, with H and W "
            f"{sides}, and sizes of at most H and W; `detector.detect(arrays)` prepares them"
        )


def prepare(
    arrays: Sequence[np.ndarray], config: PreprocessConfig, fixed: tuple[int, int] | None, divisor: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Convert images (H_i, W_i, 3) to the graph's `images` (B, 3, H, W) and `sizes` (B, 2)."""
    scaled = [array.astype(np.float32) * (1 if array.dtype == np.uint8 else 255) for array in arrays]
    resized = [resize(x, fitted_size(x.shape[0], x.shape[1], config, fixed), config.antialias) for x in scaled]
    padded = padded_size([x.shape for x in resized], divisor, config.square)
    height, width = fixed or (max(least(divisor), side) for side in padded)
    fill = np.array(config.mean if not config.bgr else config.mean[::-1]) * 255
    images = np.empty((len(arrays), 3, height, width), dtype=np.float32)
    images[:] = fill.astype(np.float32)[:, None, None]
    for slot, x in zip(images, resized, strict=True):
        slot[:, : x.shape[0], : x.shape[1]] = x.transpose(2, 0, 1)
    return images, np.array([x.shape[:2] for x in resized], dtype=np.float32)


def least(divisor: int) -> int:
    """Return the minimum height and width of dynamic graphs for images padded to multiples of `divisor`."""
    return -(-_LEAST // divisor) * divisor


def fitted_size(height: int, width: int, config: PreprocessConfig, fixed: tuple[int, int] | None) -> tuple[int, int]:
    """Return the size to resize an image to, by the model's rule, and reduced to fit a fixed input."""
    if config.min_size is not None:
        height, width = resized_size(height, width, config.min_size[-1], config.max_size, config.round_down)
    if fixed is not None and (height > fixed[0] or width > fixed[1]):
        scale = min(fixed[0] / height, fixed[1] / width)
        height, width = max(1, int(height * scale)), max(1, int(width * scale))
    return height, width
