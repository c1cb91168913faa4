"""How long does a COCO evaluation take? 5,000 images and 500,000 detections of 80 classes, compared with pycocotools.

Both start from the two files, each in a fresh process. The time covers reading, matching and accumulating; the memory
is the peak in addition to the imported libraries.
"""

import contextlib
import io
import statistics
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.measure import Options, Row, fresh, options, peak_mb, write
from benchmarks.synthetic import write_found, write_truth


def main(given: Options) -> None:
    images, boxes, detections = (50, 360, 5_000) if given.quick else (5_000, 36_000, 500_000)
    candidates = {"ours": ours} | ({"pycocotools": pycocotools} if find_spec("pycocotools") else {})
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in candidates}
    with tempfile.TemporaryDirectory() as name:
        files = {"truth": f"{name}/truth.json", "found": f"{name}/found.json"}
        write_truth(Path(files["truth"]), images, boxes)
        write_found(Path(files["found"]), Path(files["truth"]), detections)
        for _ in range(given.repeats):
            for candidate, evaluate in candidates.items():
                runs[candidate].append(fresh(evaluate, **files))
    middle = {
        (name, key): statistics.median(run[key] for run in made)
        for name, made in runs.items()
        for key in ("seconds", "memory", "peak")
    }
    rows = []
    for key, unit, bound in (("seconds", "s", 1 / 10), ("memory", "MB", 1 / 3), ("peak", "MB", None)):
        for name in candidates:
            theirs = middle.get(("pycocotools", key)) if name == "ours" else None
            ratio = None if theirs is None else middle[name, key] / theirs
            extra = {} if ratio is None else {"ratio": ratio, "against": "pycocotools", "bound": bound}
            rows.append(Row(what=f"{name}: {key}", value=middle[name, key], unit=unit, **extra))
    notes = ["the peak includes the libraries; ours imports torch, which training and prediction need"]
    if "pycocotools" in runs:
        ap = [runs[name][0]["ap"] for name in candidates]
        notes.append(f"AP of ours and pycocotools differ by {abs(ap[0] - ap[1]):.1g}")
    write("evaluation", given, rows, notes)


def ours(truth: str, found: str) -> dict[str, float]:
    """Run our evaluation in this process."""
    from cascade_rcnn.data.coco import load_coco
    from cascade_rcnn.evaluation import evaluate_boxes, load_detections

    before, start = peak_mb(), time.perf_counter()
    metrics = evaluate_boxes(load_coco(Path(truth), Path()), load_detections(found))
    seconds, peak = time.perf_counter() - start, peak_mb()
    return {"seconds": seconds, "memory": peak - before, "peak": peak, "ap": metrics.ap}


def pycocotools(truth: str, found: str) -> dict[str, float]:
    """Run pycocotools' evaluation in this process."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    before, start = peak_mb(), time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(truth)
        evaluation = COCOeval(reference, reference.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    seconds, peak = time.perf_counter() - start, peak_mb()
    return {"seconds": seconds, "memory": peak - before, "peak": peak, "ap": float(evaluation.stats[0])}


if __name__ == "__main__":
    main(options(__doc__))
