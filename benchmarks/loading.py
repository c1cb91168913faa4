"""Does training wait for its data? The images per second of one worker, and the waiting time with two workers.

--data is a folder with person_train.json and images/.
"""

import time
from itertools import islice

import torch

from benchmarks.measure import Options, Row, options, seconds, skip, write
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.data.augmentation.build import build_augmentation, build_transforms
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.loader import make_loader
from cascade_rcnn.engine.training import optim
from cascade_rcnn.images.tensors import read_image
from cascade_rcnn.models.build import build
from cascade_rcnn.models.configure import model_config
from cascade_rcnn.recipes.cpu import small

_WAITING = 0.02
_IN_FLIGHT = 4  # batches that may be ready before the clock starts and are not counted


def main(given: Options) -> None:
    path = None if given.data is None else given.data / "person_train.json"
    if path is None or not path.is_file():
        skip("loading", "give --data FOLDER with person_train.json and images/")
        return
    annotations = load_annotations(path)
    batches = 6 if given.quick else 60
    decoding = _decoding(annotations, 8 if given.quick else 200)
    rows = [Row(what="decoding with Pillow alone, one process", value=decoding, unit="images/s")]
    for photometric in (0.0, 0.5):
        speed = _one_worker(annotations, photometric, batches)
        what = f"one worker, flip .5, photometric {photometric:g}"
        rows.append(Row(what=what, value=speed, unit="images/s", floor=decoding))
    share, speed = _waiting(annotations, 4 if given.quick else 40)
    rows.append(Row(what="ResNet-18 training, 2 workers: waiting", value=share, unit="of the time", bound=_WAITING))
    rows.append(Row(what="ResNet-18 training, 2 workers", value=speed, unit="images/s"))
    write("loading", given, rows, ["the floor of loading is decoding; with Pillow, no loader of these files is faster"])


def _decoding(annotations: Annotations, number: int) -> float:
    paths = [annotations.path(i) for i in range(min(number, len(annotations)))]
    for path in paths:
        path.read_bytes()  # into the page cache
    return len(paths) / seconds(lambda: [read_image(path) for path in paths])


def _one_worker(annotations: Annotations, photometric: float, batches: int, size: int = 8) -> float:
    """Return the images per second that one worker process decodes, augments, batches and hands over."""
    dataset = Dataset(annotations, build_transforms(0.5, photometric))
    loader = make_loader(dataset, batch_size=size, workers=1, seed=0, shuffle=True, drop_last=True)
    stream = iter(loader)
    for _ in range(_IN_FLIGHT):
        next(stream)
    start = time.perf_counter()
    number = sum(len(images) for images, _ in islice(stream, batches))
    return number / (time.perf_counter() - start)


def _waiting(annotations: Annotations, steps: int) -> tuple[float, float]:
    """Train the recipe `small` from random weights; return the share of time spent waiting for data, and images/s."""
    recipe = small()
    model = build(model_config(recipe.model, annotations.categories, recipe.options, pretrained=True)).train()
    groups = optim.parameter_groups(model, recipe.optimizer)
    optimizer = optim.make_optimizer(groups, recipe.optimizer)
    optim.set_learning_rate(optimizer, 1e-5)
    dataset = Dataset(annotations, build_augmentation(recipe.augmentation))
    loader = make_loader(
        dataset, batch_size=recipe.batch_size, workers=recipe.workers, seed=0, shuffle=True, drop_last=True
    )
    stream = iter(loader)
    waited = worked = 0.0
    for step in range(2 + steps):
        start = time.perf_counter()
        images, targets = next(stream)
        ready = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(model(images, targets).values())).sum().backward()
        optimizer.step()
        if step >= 2:
            waited, worked = waited + ready - start, worked + time.perf_counter() - ready
    return waited / (waited + worked), steps * recipe.batch_size / (waited + worked)


if __name__ == "__main__":
    main(options(__doc__))
