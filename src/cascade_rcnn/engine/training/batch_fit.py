"""A trial before training: how many images fit into memory at once?

If not all images of a step fit, they are processed in equal parts whose gradients are added up. An update still uses as
many images, so that the learning rate and its schedule stay as they are. An epoch may have one or two more updates, as
fewer images are left over at its end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice

import msgspec
import numpy as np
import torch

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.loader import Batch, as_batch, readable
from cascade_rcnn.engine.memory import available_memory, memory_of
from cascade_rcnn.engine.training import optim, processes
from cascade_rcnn.engine.training.collectives import gather
from cascade_rcnn.engine.training.state import TrainingState, random_state, set_random_state
from cascade_rcnn.errors import UserError, is_out_of_memory
from cascade_rcnn.images.resizing import resized_size
from cascade_rcnn.text import count

_SPARE = 0.1  # of the memory: for fragmentation, and for augmented images, which may be larger


@dataclass(frozen=True, kw_only=True)
class BatchFit:
    """The number of images that fit at once.

    >>> print(BatchFit(wanted=8, fitting=2, size=(800, 1333), memory=8 * 2**30))
    batch size: only 2 of 8 images of up to 1333 x 800 pixels fit into 8.0 GB at once: --batch-size 2 --accumulate 4
    """

    wanted: int  # images per device and step
    fitting: int
    size: tuple[int, int]  # height and width of the largest image, as resized
    memory: float  # bytes: of the GPU, or of what is available to the process
    accumulate: int = 1  # steps per update, before the images are split

    def __str__(self) -> str:
        height, width = self.size
        images = f"of up to {width} x {height} pixels fit into {self.memory / 2**30:.1f} GB"
        if self.fitting == self.wanted:
            return f"batch size: {count(self.wanted, 'image')} {images}"
        parts = f"--batch-size {self.fitting} --accumulate {self.accumulate * self.wanted // self.fitting}"
        return f"batch size: only {self.fitting} of {count(self.wanted, 'image')} {images} at once: {parts}"


def fit_batch(state: TrainingState) -> BatchFit | None:
    """Train a copy of the model for a step on the largest images, with parts of the batch until they fit.

    On a GPU, a step that runs out of memory is tried again with half the images. On a CPU, where the system would end
    the process, the memory of a step on one image is measured and multiplied; the processes on a machine share its
    memory. None if it cannot be measured (Apple's GPU, systems other than Linux). Raises UserError if not even one
    image fits. The run is not affected.
    """
    kind = state.fabric.device.type
    memory = {"cuda": _gpu_memory, "cpu": available_memory}.get(kind, lambda: None)()
    if memory is None:
        return None
    if kind == "cpu":
        memory /= processes.on_this_machine(state.recipe.devices)
    wanted, random = state.recipe.batch_size, random_state()
    sizes = _resized(state.data.train.annotations, state.model.config)
    order = hardest(sizes, state.data.train.annotations.first.diff().numpy())
    samples = list(islice(cycle(readable(state.data.train.with_transforms(None), order)), wanted))

    def step(images: int) -> None:
        train_a_copy(state, as_batch(samples[:images]))

    try:
        run = _with_spare(step, memory) if kind == "cuda" else _predicted(step, memory)
        fitting = min(gather(state.fabric, largest_part(run, wanted)))
    finally:
        set_random_state(random)
    if not fitting:
        raise UserError(
            "not even one image fits into memory; make images smaller (--options.min-size), lower --options.rois, "
            "choose a smaller model, or skip this trial with --no-fit-batch"
        )
    height, width = sizes[order[0]].tolist()
    return BatchFit(
        wanted=wanted, fitting=fitting, size=(height, width), memory=memory, accumulate=state.recipe.accumulate
    )


def largest_part(step: Callable[[int], None], wanted: int) -> int:
    """Return the largest divisor of `wanted`, among the whole, its half and so on, for which `step` has enough memory.

    0 if one image is too much.

    >>> def step(images):
    ...     if images > 3:
    ...         raise torch.OutOfMemoryError("out of memory")
    >>> largest_part(step, 8), largest_part(step, 6), largest_part(step, 5)
    (2, 3, 1)
    """
    part = wanted
    while True:
        try:
            step(part)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            # The traceback, which keeps tensors alive, is gone before the next try.
        else:
            return part
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if part == 1:
            return 0
        part = max(size for size in range(1, part // 2 + 1) if wanted % size == 0)


def hardest(sizes: np.ndarray, boxes: np.ndarray) -> list[int]:
    """Return images by the memory they take: the largest, then the one with most boxes, then by size and boxes.

    sizes (N, 2): height and width, boxes (N,): their number. All have the orientation of the largest, as in a batch.

    >>> hardest(np.array([(10, 20), (30, 20), (30, 25), (30, 20)]), np.array([9, 7, 1, 2]))
    [2, 1, 3]
    """
    order = np.lexsort((-boxes, -sizes.prod(axis=1)))
    tall = sizes[:, 0] > sizes[:, 1]
    order = order[tall[order] == tall[order[0]]]
    crowded = order[np.argmax(boxes[order])]
    return list(dict.fromkeys((int(order[0]), int(crowded), *order.tolist())))


def _resized(annotations: Annotations, config: ModelConfig) -> np.ndarray:
    """Return the heights and widths (N, 2) of images at the largest of the model's sizes."""
    sizes, preprocess = annotations.image_sizes.numpy(), config.preprocess
    if preprocess.min_size is None:
        return sizes
    shortest, longest = max(preprocess.min_size), preprocess.max_size
    return np.array([resized_size(height, width, shortest, longest) for height, width in sizes.tolist()])


def train_a_copy(state: TrainingState, batch: Batch) -> None:
    """Update a copy of the model, at the largest of its image sizes."""
    model, config = state.copy_of_model(), state.recipe.optimizer
    preprocess = model.config.preprocess
    if preprocess.min_size is not None:
        model.preprocess.config = msgspec.structs.replace(preprocess, min_size=(max(preprocess.min_size),))
    optimizer = optim.make_optimizer(optim.parameter_groups(model, config), config, fused=False)
    with state.fabric.autocast():
        loss = torch.stack(list(model(*batch).values())).sum()
    loss.backward()
    optimizer.step()


def _gpu_memory() -> float:
    return float(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)


def _with_spare(step: Callable[[int], None], memory: float) -> Callable[[int], None]:
    """Return the step with the spare part of the GPU's memory taken."""

    def run(images: int) -> None:
        taken = torch.empty(int(_spare(images) * memory), dtype=torch.uint8, device="cuda")
        step(images)
        del taken

    return run


def _predicted(step: Callable[[int], None], memory: float) -> Callable[[int], None]:
    """Return a step that runs out of memory if as many images, each with the memory of one alone, exceed it."""
    each = memory_of(lambda: step(1))

    def run(images: int) -> None:
        if images * each > (1 - _spare(images)) * memory:
            raise torch.OutOfMemoryError("out of memory")

    return run


def _spare(images: int) -> float:
    return _SPARE if images > 1 else 0.0  # after a single image there is nothing smaller to try
