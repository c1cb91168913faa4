"""Data loading: decode the sampler's batches in worker processes, which end with the process that started them."""

import atexit
import errno
import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from cascade_rcnn.arguments import check_number
from cascade_rcnn.data.batch_sampler import AspectBatchSampler, Draw
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.targets import Sample, Target
from cascade_rcnn.data.transport import Packed, pack, unpack
from cascade_rcnn.errors import UserError

_TRIES = 10  # replacements to try for a bad image
_GUARD = 'put its code below `if __name__ == "__main__":`, or use --workers 0 (workers=0)'
_NOT_STARTED = (
    "a data loading process could not start (its error is printed above); put the code of a script below "
    '`if __name__ == "__main__":` and classes of a notebook into a module, or use --workers 0 (workers=0)'
)
Batch: TypeAlias = tuple[list[Tensor], list[Target]]


class DetectionLoader(DataLoader):
    """A DataLoader that yields (images, targets), two lists, and re-raises a worker's UserError unchanged."""

    batch_sampler: AspectBatchSampler

    def set_epoch(self, epoch: int, skip_batches: int = 0) -> None:
        """Set the epoch of the next iteration; see `AspectBatchSampler.set_epoch`."""
        self.batch_sampler.set_epoch(epoch, skip_batches)

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride]
        batches = self._start()
        while True:
            try:
                batch = next(batches, None)
            except (RuntimeError, OSError, EOFError) as error:
                if (lost := _lost(error, getattr(batches, "_workers", ()))) is None:
                    raise
                raise lost from None
            if batch is None:
                return
            if isinstance(batch, UserError):
                raise batch
            yield unpack(batch) if self.num_workers else batch

    def _start(self) -> Iterator[Any]:
        """Start the workers and return an iterator over their batches, which raises if one of them dies.

        torch's SIGCHLD handler is removed: it would raise wherever the main thread happens to be, such as in the middle
        of an update, or at the end of the program, when workers are killed deliberately.
        """
        running = getattr(self, "_iterator", None) is not None
        check_first_run()
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
            handler = signal.getsignal(signal.SIGCHLD)
            batches = self._iterate()
            signal.signal(signal.SIGCHLD, handler)
        else:
            batches = self._iterate()
        if not running and self.num_workers:
            # Before torch's functions at exit, and before multiprocessing waits for its processes (priority 0 or more).
            atexit.register(Finalize(batches, _kill, (batches._workers,), exitpriority=1))  # pyright: ignore
        return batches

    def _iterate(self) -> Iterator[Any]:
        try:
            return super().__iter__()
        except (EOFError, ConnectionError):  # of the process that starts the others, which has run the script first
            raise UserError(_NOT_STARTED) from None


def check_first_run() -> None:
    """Raise UserError where a process that a script has started runs the script again, as it is not guarded.

    All start methods but fork do this: spawn, the default on Windows and macOS, and forkserver, elsewhere that of
    Python 3.14.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UserError(f"this script is run again by each process that it starts; {_GUARD}")


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
        worker_init_fn=_ignore_signals,
        pin_memory=torch.cuda.is_initialized(),  # not for a model on the CPU
        generator=torch.Generator().manual_seed(seed),  # by default, every epoch would draw from the global one
    )


def _lost(error: Exception, workers: Sequence[BaseProcess]) -> UserError | None:
    """Return a UserError if a batch was lost because its process died, or too many files were open; else None."""
    if "DataLoader worker" in str(error):
        if any((worker.exitcode or 0) > 0 for worker in workers):  # not killed
            return UserError(_NOT_STARTED)
        return UserError("a data loading process has died (killed, or out of memory); use fewer --workers (0: none)")
    if isinstance(error, EOFError) or "ancdata" in str(error) or getattr(error, "errno", None) == errno.EMFILE:
        return UserError("too many open files; raise the limit (`ulimit -n 4096`), or use fewer --workers (0: none)")
    return None


def _kill(workers: Sequence[BaseProcess]) -> None:
    """Kill workers that are left when their iterator is gone, or when this process ends.

    They ignore SIGTERM, with which torch and multiprocessing end a worker that does not stop by itself: the process
    would wait for it.
    """
    for worker in workers:
        worker.kill()


def _ignore_signals(_: int) -> None:
    """Ignore signals in workers: Ctrl-C reaches all processes, but training still needs workers to finish its step."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)


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
