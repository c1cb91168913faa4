"""Prediction with Ray Data: images per second with one and two actors, and the cost of a killed actor.

`python -m benchmarks.ray_predict` writes 2,000 images, runs the starter on them in one process, with one and two
actors, and with two actors of which one is killed, and compares every score.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq

import ray
from cascade_rcnn import Predictor
from cascade_rcnn.assets import PHOTO
from cascade_rcnn.engine.environment import describe
from cascade_rcnn.images.tensors import read_image
from cascade_rcnn.ray import PredictionSummary, predict_dataset

PAGE = Path("docs/results/ray.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--min-size", type=int, default=128, help="short side that the starter resizes to")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "images"
        write_images(source, given.images)
        start = time.perf_counter()
        expected = alone(source, given.min_size)
        rows.append(("one process, one thread, no Ray", time.perf_counter() - start, "", ""))
        for what, workers, kill in (
            ("Ray, one actor", 1, False),
            ("Ray, two actors", 2, False),
            ("Ray, two actors, one killed", 2, True),
        ):
            output = Path(name) / what.replace(" ", "-")
            start = time.perf_counter()
            summary = with_ray(source, output, given.min_size, workers, kill=kill)
            taken = time.perf_counter() - start
            rows.append((what, taken, str(summary.done), "yes" if found(output) == expected else "NO"))
    given.page.write_text(render(rows, given.images, given.min_size), encoding="utf-8")
    print(given.page)
    if any(row[3] == "NO" for row in rows):
        sys.exit("detections differ from those of one process")


def write_images(folder: Path, number: int) -> None:
    """Write different crops of the starter's photo."""
    folder.mkdir()
    photo, rng = PIL.Image.open(PHOTO), np.random.default_rng(0)
    for i in range(number):
        x, y = int(rng.integers(photo.width - 320)), int(rng.integers(photo.height - 240))
        photo.crop((x, y, x + 320, y + 240)).save(folder / f"{i:05}.jpg", quality=90)


def alone(source: Path, min_size: int) -> dict[str, list]:
    """Predict without Ray, on one thread like an actor."""
    import torch

    torch.set_num_threads(1)
    predictor = Predictor("starter", min_size=min_size)
    return {
        path.name: predictor.detect([read_image(path)])[0]["scores"].tolist() for path in sorted(source.glob("*.jpg"))
    }


def with_ray(source: Path, output: Path, min_size: int, workers: int, *, kill: bool) -> PredictionSummary:
    """Predict with actors; with `kill`, one of them is killed once some images are done."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    done = threading.Event()
    if kill:
        threading.Thread(target=_kill_one, args=[output, done], daemon=True).start()
    try:
        summary = predict_dataset("starter", source, output, workers=workers, min_size=min_size)
    finally:
        ray.shutdown()
    if kill and not done.is_set():
        raise SystemExit("there were too few images to kill an actor; give more --images")
    return summary


def _kill_one(output: Path, done: threading.Event) -> None:
    while not list(output.glob("*.parquet")):
        time.sleep(0.5)
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"MapWorker" in cmdline.read_bytes():
                os.kill(int(cmdline.parent.name), signal.SIGKILL)
                done.set()
                return


def found(output: Path) -> dict[str, list]:
    """Return the scores by image; empty if an image has several rows."""
    rows = pq.read_table(output, columns=["path", "scores", "error"]).to_pylist()
    scores = {row["path"]: row["scores"] for row in rows}
    return scores if len(scores) == len(rows) else {}


def render(rows: list[tuple[str, float, str, str]], images: int, min_size: int) -> str:
    """Return the page."""
    here = describe()
    where = f"{here['processor']}, {here['cores']} cores; Python {here['python']}, torch {here['torch']}"
    lines = [
        "# Prediction with Ray Data",
        "",
        f"These results were measured with `python -m benchmarks.ray_predict --images {images} --min-size {min_size}`,",
        f"running the starter in fp32 on {images} crops of 320 x 240 pixels. The time includes starting Ray and its",
        "actors, which load the model.",
        "",
        "| | seconds | images/s | rows | same scores |",
        "|---|---|---|---|---|",
        *(f"| {what} | {taken:.1f} | {images / taken:.1f} | {done} | {same} |" for what, taken, done, same in rows),
        "",
        f"{where}, Ray {ray.__version__}; {here['date']}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
