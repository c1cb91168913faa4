"""How long does a COCO-size annotation file take to load (118,287 images, 860,000 boxes with outlines), and do worker
processes copy it?
"""

import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import msgspec
import torch

from benchmarks.measure import Options, Row, fresh, options, seconds, write
from benchmarks.synthetic import write_truth
from cascade_rcnn.data.dataset import Dataset

_SECONDS = 5.0
_SHARE = 0.1  # of the columns' size; a worker that needs more has copied the data


def main(given: Options) -> None:
    images, boxes = (500, 4_000) if given.quick else (118_287, 860_000)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "truth.json"
        write_truth(path, images, boxes, polygon=20)
        scanning = seconds(lambda: msgspec.json.decode(path.read_bytes(), type=msgspec.Raw))
        runs = [fresh(load, path=str(path)) for _ in range(given.repeats)]
        size = path.stat().st_size / 2**20
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    what = f"loading {boxes} boxes of {images} images ({size:.0f} MB)"
    rows = [Row(what=what, value=middle["seconds"], unit="s", floor=scanning, bound=_SECONDS)]
    rows.append(Row(what="size in memory", value=middle["columns"], unit="MB"))
    for method in ("fork", "spawn"):
        rows.append(
            Row(what=f"private memory of a worker that reads everything ({method})", value=middle[method], unit="MB",
                ratio=middle[method] / middle["columns"], against="the size in memory", bound=_SHARE)
        )  # fmt: skip
    write("annotations", given, rows, ["the floor is scanning the JSON without keeping anything"])


def load(path: str) -> dict[str, float]:
    """Load the file in this process, and measure how much memory two kinds of worker need to read every target."""
    from cascade_rcnn.data.coco import load_coco

    start = time.perf_counter()
    annotations = load_coco(Path(path), Path())
    taken = time.perf_counter() - start
    columns = [value for value in vars(annotations).values() if isinstance(value, torch.Tensor)]
    columns += list(vars(annotations.file_names).values())
    found = {"seconds": taken, "columns": sum(column.nbytes for column in columns) / 2**20}
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        queue = context.SimpleQueue()
        dataset = Dataset(annotations)
        worker = context.Process(  # pyright: ignore[reportAttributeAccessIssue]
            target=_read_all, args=(dataset, queue)
        )
        worker.start()
        found[method] = queue.get()
        worker.join()
    return found


def _read_all(dataset: Dataset, queue: "multiprocessing.SimpleQueue[float]") -> None:
    """Read every target once in a worker, and report by how many megabytes its private memory grows."""
    for i in range(8):  # the first reads allocate memory that is not a copy of the data
        dataset._target(i)
    before = _private_mb()
    for i in range(len(dataset)):
        dataset._target(i)
    queue.put(_private_mb() - before)


def _private_mb() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


if __name__ == "__main__":
    main(options(__doc__))
