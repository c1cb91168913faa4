"""Names of dataset splits, and their selection."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cascade_rcnn.errors import UserError, nearest

_SAME = (("train", "training"), ("val", "valid", "validation", "dev"), ("test", "testing"))


def is_split(name: str) -> bool:
    """Return whether a name is that of a split, such as train, valid or val2017."""
    return any(name.lower().rstrip("0123456789_-.") in names for names in _SAME) or name.lower() == "trainval"


def choose(source: str | Path, splits: Sequence[str], wanted: str | None) -> str:
    """Select a split by its name, a synonym (val, valid), or a prefix (train for train2017).

    Raises UserError listing the splits if there is no such split, or if there are several and `wanted` is None.
    """
    known = ", ".join(splits[:8]) + (", ..." if len(splits) > 8 else "")
    if wanted is None:
        if len(splits) == 1:
            return splits[0]
        raise UserError(
            f"{source}: has the splits {known}; choose one with --split (for training, --data.train-split and "
            "--data.val-split)"
        )
    same = next((names for names in _SAME if wanted.lower() in names), (wanted.lower(),))
    for fits in (
        lambda name: name == wanted,
        lambda name: name.lower() in same,
        lambda name: name.lower().rstrip("0123456789_-.") in same,
    ):
        if found := [name for name in splits if fits(name)]:
            return choose(source, found, None)
    raise UserError(f"{source}: has no split {wanted!r}, only {known}{nearest(wanted, splits)}")


def distinct(splits: Sequence[str]) -> list[str]:
    """Return the splits without those contained in others: VOC's trainval and its single-class lists (cat_train)."""
    both = {"train", "val"} <= set(splits)
    whole = [name for name in splits if not any(name.endswith(f"_{other}") for other in splits)]
    return [name for name in whole if not (both and name == "trainval")]


def rank(name: str) -> int:
    """Return a key that sorts splits in the order training, validation, test, others."""
    bare = name.lower().rstrip("0123456789_-.")
    return next((k for k, names in enumerate(_SAME) if bare in names), len(_SAME))


def splits_of(names: Iterable[str]) -> frozenset[int]:
    """Return the ranks of the training, validation and test sets that files or folders are named for."""
    return frozenset(number for name in names if (number := rank(name)) < len(_SAME))


def for_training(source: str | Path, splits: Sequence[str]) -> tuple[str, str | None]:
    """Return the training and validation splits (None if there is none). Raises UserError if they are ambiguous."""
    train = choose(source, splits, None if len(splits) == 1 else "train")
    others = [name for name in splits if name != train]
    has_validation = any(name.lower().rstrip("0123456789_-.") in _SAME[1] for name in others)
    return train, choose(source, others, "val") if has_validation else None
