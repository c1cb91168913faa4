"""Draw validation images from a dataset without splits.

N images · M classes · G groups of images
"""

import numpy as np

_DRAWS = 10  # of which the one with the most even shares is used


def draw(shown: np.ndarray, groups: np.ndarray, fraction: float, seed: int = 0) -> np.ndarray:
    """Draw about a fraction of the images, in whole groups, which show about that fraction of each class's images.

    shown (N, M) bool tells which classes an image shows, groups (N,) which group (0..G-1) it belongs to -> (N,) bool.
    Images that show nothing count as one more class.
    """
    columns = np.concatenate((shown, ~shown.any(axis=1, keepdims=True)), axis=1)
    number, rng = int(groups.max()) + 1, np.random.default_rng(seed)
    counts, sizes = np.zeros((number, columns.shape[1]), np.int32), np.bincount(groups, minlength=number)
    np.add.at(counts, groups, columns)
    amounts = np.concatenate((counts, sizes[:, None]), axis=1)
    draws = [_stratified(counts, sizes, fraction, rng) for _ in range(_DRAWS)]
    return min(draws, key=lambda one: np.abs(amounts[one].sum(axis=0) - fraction * amounts.sum(axis=0)).sum())[groups]


def _stratified(counts: np.ndarray, sizes: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Draw groups by how many images they have of each class, (G, M + 1), and in total, (G,) -> (G,) bool.

    This is iterative stratification (Sechidis et al. 2011), of groups rather than images: from the rarest class to the
    most frequent one, each group goes to the side that lacks more of the class. A class in at least two groups is meant
    to be on both sides.
    """
    whole = counts.sum(axis=0)
    wanted = np.where((counts > 0).sum(axis=0) > 1, np.maximum(1, fraction * whole), fraction * whole)
    lacking = np.stack((whole - wanted, wanted))  # training and validation side
    room = np.array([1 - fraction, fraction]) * sizes.sum()
    side = np.full(len(counts), -1)
    order = rng.permutation(len(counts))
    while (left := order[side[order] < 0]).size:
        rest = counts[left].sum(axis=0)
        rarest = int(np.where(rest > 0, rest, rest.max() + 1).argmin())
        for group in left[counts[left, rarest] > 0].tolist():
            side[group] = max((0, 1), key=lambda k: (lacking[k, rarest], room[k]))
            lacking[side[group]] -= counts[group]
            room[side[group]] -= sizes[group]
    return side == 1
