"""`cascade-rcnn-runtime` (`python -m cascade_rcnn.runtime`): detection with exported files, without torch."""

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cascade_rcnn import rle
from cascade_rcnn.arguments import check_number
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import write_json
from cascade_rcnn.images.decoding import decode_image
from cascade_rcnn.images.folders import expand
from cascade_rcnn.outputs import check_outputs
from cascade_rcnn.runtime.runtime import Runtime
from cascade_rcnn.text import count, printable


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
        if given.threads is not None:
            check_number("threads", given.threads, 1)
        check_outputs([given.output], chain([given.model], (source.path for source in expand(given.images))))
        found, failed = detect(Runtime(given.model, threads=given.threads), given.images, given.threshold)
        write_json(given.output, found)
        print(f"{count(len(found), 'detection')}: {given.output}")
        if failed:
            raise UserError(f"{count(failed, 'image')} could not be used (see above); {given.output} holds the others")
    except (UserError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(1)


def detect(runtime: Runtime, images: Sequence[str], threshold: float = 0.0) -> tuple[list[dict[str, Any]], int]:
    """Detect in images, folders or glob patterns, and return COCO results like those of `cascade-rcnn predict`.

    Image ids count from 1. Masks are compressed run lengths. An image that cannot be read is reported on stderr and
    skipped; the number of those is also returned.
    """
    results, failed = [], 0
    for number, source in enumerate(expand(images), start=1):
        try:
            image = decode_image(source.path)
        except UserError as error:
            print(f"skipped: {printable(str(error))}", file=sys.stderr)
            failed += 1
            continue
        found = runtime.detect([image])[0]
        for k, (box, score, label) in enumerate(zip(found["boxes"], found["scores"], found["labels"], strict=True)):
            if score >= threshold:
                one = _result(runtime, number, source.name, box, float(score), int(label))
                results.append(one | ({"segmentation": _run_lengths(found["masks"][k])} if "masks" in found else {}))
    return results, failed


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
    height, width = mask.shape
    counts = rle.to_string(rle.encode(mask, (0, 0, width, height), height, width))
    return {"size": [height, width], "counts": counts.decode()}


if __name__ == "__main__":
    main()
