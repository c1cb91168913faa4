"""Data loading: decode the sampler's batches, in worker processes or in this one."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import get_worker_info

from cascade_rcnn.arguments import check_number
from cascade_rcnn.data.batch_sampler import AspectBatchSampler, Draw
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.targets import Sample, Target
from cascade_rcnn.data.transport import Packed, pack, unpack
from cascade_rcnn.data.workers import WorkerLoader, ignore_signals
from cascade_rcnn.errors import UserError

_TRIES = 10  # replacements to try for a bad image
Batch: TypeAlias = tuple[list[Tensor], list[Target]]


class DetectionLoader(WorkerLoader):
    """A loader that yields (images, targets), two lists, and re-raises a worker's UserError unchanged."""

    batch_sampler: AspectBatchSampler

    def set_epoch(self, epoch: int, skip_batches: int = 0) -> None:
        """Set the epoch of the next iteration; see `AspectBatchSampler.set_epoch`."""
        self.batch_sampler.set_epoch(epoch, skip_batches)

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride]
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield unpack(batch) if self.num_workers else batch


def check_loading(batch_size: int, workers: int) -> None:
    """Raise UserError for numbers that no loader can have."""
    check_number("batch_size", batch_size, 1, whole=True)
    check_number("workers", workers, 0, whole=True)


def make_loader(
    dataset: Dataset,
    *,
    batch_size: int,
    workers: int,
    seed: int,
    shuffle: bool,
    drop_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
    replace_bad: bool = False,
    repeats: np.ndarray | None = None,
    epochs: int = 1,
) -> DetectionLoader:
    """Make a loader of this rank's batches of `batch_size` images, decoded by `workers` processes (0: this one).

    With `replace_bad` (for training), a sample with an image that cannot be decoded is replaced by the next image,
    augmented with another seed. Call the loader's `set_epoch(epoch, skip_batches)` before each epoch; otherwise, all
    epochs are the same. `repeats` (N,) are the images' repeat factors (see `repeat_factors`), and `epochs` is the
    length of the run, as some augmentations stop before its end. Raises UserError for a number that is too small, or
    if the images cannot fill a batch.
    """
    check_loading(batch_size, workers)
    sampler = AspectBatchSampler(
        dataset.annotations.image_sizes,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        drop_last=drop_last,
        rank=rank,
        world_size=world_size,
        repeats=repeats,
        epochs=epochs,
    )
    workers = min(workers, len(sampler))  # others would have no batch to decode
    return DetectionLoader(
        _Samples(dataset, replace_bad),
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=_collate,
        worker_init_fn=ignore_signals,
        pin_memory=torch.cuda.is_initialized(),  # not for a model on the CPU
        generator=torch.Generator().manual_seed(seed),  # by default, every epoch would draw from the global one
    )


class _Samples(TorchDataset):
    """Batches of samples; a UserError is returned instead of raised, as a worker would print its traceback."""

    def __init__(self, dataset: Dataset, replace_bad: bool):
        self.dataset, self.replace_bad = dataset, replace_bad

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Sample:
        try:
            return self.dataset[draw]
        except UserError as error:
            if not self.replace_bad:
                raise
            print(f"skipped: {error}", file=sys.stderr)
            return self._next(draw, error)

    def _next(self, draw: Draw, error: UserError) -> Sample:
        i, seed, progress = draw
        for step in range(1, min(_TRIES, len(self))):
            # With the same seed, an augmentation would mix in the same images, among them the bad one.
            with suppress(UserError):
                return self.dataset[(i + step) % len(self), (seed + step) % 2**63, progress]
        raise error

    def __getitems__(self, indices: list[Draw]) -> list[Sample] | UserError:
        try:
            return [self[index] for index in indices]
        except UserError as error:
            return error


def _collate(samples: list[Sample] | UserError) -> Batch | Packed | UserError:
    if isinstance(samples, UserError):
        return samples
    batch = as_batch(samples)
    return batch if get_worker_info() is None else pack(batch)


def as_batch(samples: Sequence[Sample]) -> Batch:
    """Collate samples: a list of their images, and one of their targets."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


def readable(dataset: Dataset, order: list[int]) -> Iterator[Sample]:
    """Yield the samples that can be read, in this order. Raises UserError for the last image if none can."""
    error: UserError | None = None
    found = False
    for i in order:
        try:
            sample = dataset[i]
        except UserError as unreadable:
            error = unreadable
        else:
            found = True
            yield sample
    if error is not None and not found:
        raise error
