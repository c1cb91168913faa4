"""`cascade-rcnn-runtime` (`python -m cascade_rcnn.runtime`): detection with exported files, without torch."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cascade_rcnn import rle
from cascade_rcnn.arguments import check_number
from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.files import write_json
from cascade_rcnn.images.decoding import decode_image, file_holds_more, file_is_dark
from cascade_rcnn.images.folders import expand, notes_of
from cascade_rcnn.outputs import check_outputs
from cascade_rcnn.runtime.runtime import Runtime
from cascade_rcnn.text import count, printable, storable


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. A user error ends with one line on stderr and exit code 1.

    Images that cannot be read are reported and skipped, and also end with exit code 1, after the others.
    """
    parser = argparse.ArgumentParser(prog="cascade-rcnn-runtime", description="Detect objects with an exported file.")
    parser.add_argument("model", type=Path, help="an .onnx or OpenVINO .xml file")
    parser.add_argument("images", nargs="+", help="images, folders of images or glob patterns")
    parser.add_argument("--output", type=Path, default=Path("detections.json"), help="COCO results (%(default)s)")
    parser.add_argument("--threshold", type=float, default=0.0, help="minimum score (default: the model's own)")
    parser.add_argument("--threads", type=int, help="of the engine (default: its own choice)")
    given = parser.parse_args(arguments)
    try:
        check_number("threshold", given.threshold, 0, 1)
        check_outputs([given.output], chain([given.model], (source.path for source in expand(given.images))))
        runtime = Runtime(given.model, threads=given.threads)
        found, failed, stopped = detect(runtime, given.images, given.threshold)
        write_json(given.output, found)
        print(f"{count(len(found), 'detection')}: {given.output}")
        if stopped:
            print(f"interrupted: {given.output} holds the images before", file=sys.stderr)
            sys.exit(130)
        if failed:
            raise UserError(f"{count(failed, 'image')} could not be used (see above); {given.output} holds the others")
    except (UserError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(1)


def detect(runtime: Runtime, images: Sequence[str], threshold: float = 0.0) -> tuple[list[dict[str, Any]], int, bool]:
    """Detect in images, folders or glob patterns, and return COCO results like those of `cascade-rcnn predict`.

    Image ids count from 1. Masks are compressed run lengths. What is skipped is reported on stderr; the number of
    images that could not be used, and whether Ctrl-C ended it, are also returned.
    """
    results: list[dict[str, Any]] = []
    failed, in_part, dark, left_out, stopped = 0, 0, 0, Counter[str](), False
    try:
        for number, source in enumerate(expand(images, left_out=left_out), start=1):
            try:
                found = runtime.detect([decode_image(source.path)])[0]
            except Exception as error:  # noqa: BLE001  whatever it is, it concerns only this image
                text = str(error) if isinstance(error, UserError) else f"{source.path}: {reason(error)}"
                print(f"skipped: {printable(text)}", file=sys.stderr)
                failed += 1
                continue
            results += _results(runtime, number, storable(source.name), found, threshold)
            in_part += file_holds_more(source.path)
            dark += file_is_dark(source.path)
    except KeyboardInterrupt:
        stopped = True
    for note in notes_of(left_out, in_part, dark):
        print(f"note: {printable(note)}", file=sys.stderr)
    return results, failed, stopped


def _results(
    runtime: Runtime, number: int, name: str, found: dict[str, np.ndarray], threshold: float
) -> Iterator[dict[str, Any]]:
    for k, (box, score, label) in enumerate(zip(found["boxes"], found["scores"], found["labels"], strict=True)):
        if score >= threshold:
            one = _result(runtime, number, name, box, float(score), int(label))
            yield one | ({"segmentation": _run_lengths(found["masks"][k])} if "masks" in found else {})


def _result(runtime: Runtime, number: int, name: str, box: np.ndarray, score: float, label: int) -> dict[str, Any]:
    category = runtime.config.categories[label - 1]
    left, top, right, bottom = box.astype(float).tolist()
    return {
        "image_id": number,
        "file_name": name,
        "category_id": category.id,
        "category_name": category.name,
        "bbox": [left, top, right - left, bottom - top],
        "score": score,
    }


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Encode a mask (H, W) as COCO's compressed run lengths."""
    return {"size": list(mask.shape), "counts": rle.of_mask(mask)["counts"].decode()}


if __name__ == "__main__":
    main()
