"""The batches of an epoch: images of one orientation, in an order that depends on seed and epoch alone.

The images, their order and seeds are a pure function of (seed, epoch): a resumed training run sees exactly what an
uninterrupted one would have seen, whatever the number of workers.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from torch import Tensor
from torch.utils.data import Sampler

from cascade_rcnn.data.repeats import repeated
from cascade_rcnn.errors import UserError
from cascade_rcnn.text import count

Draw: TypeAlias = tuple[int, int, float]  # image, seed of its augmentation, and training progress in 0..1


class AspectBatchSampler(Sampler[list[Draw]]):
    """A sampler of this rank's batches, lists of (index, seed, progress); `set_epoch` sets the epoch, initially 0.

    With shuffling (training), a batch is all landscape or all portrait, which keeps padding small. Ranks take batches
    in turn, and a few are repeated so that every rank has the same number. `drop_last` makes every batch full; if a
    group is too small to ever fill one, images are not grouped, so that no image is dropped in every epoch. With
    `repeats` (see `repeat_factors`), some images occur several times per epoch, each time with another seed.
    Without shuffling (evaluation), nothing is grouped or repeated: ranks may have different numbers of batches, or
    none.
    """

    def __init__(
        self,
        image_sizes: Tensor,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        repeats: np.ndarray | None = None,
        epochs: int = 1,
    ):
        """Create the sampler for images of `image_sizes` (N, 2), height and width, with repeat factors `repeats` (N,).

        `epochs` is the number of epochs in the whole run. Raises UserError for fewer images than a full batch needs.
        """
        height, width = image_sizes.unbind(1)
        groups = (height > width).numpy().astype(np.int64)
        counts = _counts(groups, repeats)
        starved = drop_last and bool(((counts > 0) & (counts < batch_size)).any())
        self.groups = groups if shuffle and not starved else np.zeros_like(groups)
        self.repeats, self.epochs = repeats, epochs
        self.batch_size, self.seed, self.shuffle, self.drop_last = batch_size, seed, shuffle, drop_last
        self.rank, self.world_size = rank, world_size
        self.set_epoch(0)
        if not self._batch_count():
            raise UserError(f"{count(len(groups), 'image')} cannot fill a batch of {batch_size}; lower --batch-size")

    def set_epoch(self, epoch: int, skip_batches: int = 0) -> None:
        """Set the epoch to iterate over, and how many of this rank's batches to skip at its start."""
        self.epoch, self.skip_batches = epoch, skip_batches

    def __len__(self) -> int:
        """Return the number of this rank's batches per epoch, including skipped ones; the same in every epoch."""
        total = self._batch_count()
        return -(-total // self.world_size) if self.shuffle else len(range(self.rank, total, self.world_size))

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        images = self._images(rng)
        batches = self._batches(images, rng)
        seeds = rng.integers(2**63, size=len(images))
        mine = batches[self.rank :: self.world_size]
        for k in range(self.skip_batches, len(mine)):
            batch, progress = mine[k], (self.epoch + k / len(mine)) / self.epochs
            yield [(i, seed, progress) for i, seed in zip(images[batch].tolist(), seeds[batch].tolist(), strict=True)]

    def _images(self, rng: np.random.Generator) -> np.ndarray:
        """Return the images of an epoch in order, including repeats."""
        if self.repeats is None:
            return np.arange(len(self.groups))
        found = [np.flatnonzero(self.groups == group) for group in (0, 1)]
        return np.concatenate([one[repeated(self.repeats[one], rng)] for one in found if len(one)])

    def _batches(self, images: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Return the batches of all ranks, in the order in which ranks take them, as positions in `images`."""
        if not self.shuffle:
            return self._cut(np.arange(len(images)))
        order, groups = rng.permutation(len(images)), self.groups[images]
        batches = [batch for group in (0, 1) for batch in self._cut(order[groups[order] == group])]
        batches = [batches[i] for i in rng.permutation(len(batches))]
        return [batches[i % len(batches)] for i in range(len(self) * self.world_size)]

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        return batches[:-1] if self.drop_last and batches and len(batches[-1]) < self.batch_size else batches

    def _batch_count(self) -> int:
        counts = _counts(self.groups, self.repeats)
        return int((counts // self.batch_size if self.drop_last else -(-counts // self.batch_size)).sum())


def _counts(groups: np.ndarray, repeats: np.ndarray | None) -> np.ndarray:
    """Return the number of images per epoch in each of the two groups, (2,)."""
    if repeats is None:
        return np.bincount(groups, minlength=2)
    return np.array([round(float(repeats[groups == group].sum())) for group in (0, 1)])
