"""Splits: what datasets call their parts, and which is meant."""

from collections.abc import Sequence
from pathlib import Path

from cascade_rcnn.errors import UserError, nearest

_SAME = (("train", "training"), ("val", "valid", "validation", "dev"), ("test", "testing"))


def is_split(name: str) -> bool:
    """Whether a folder or file of this name is a split: train, valid, val2017 ..."""
    return any(name.lower().rstrip("0123456789_-.") in names for names in _SAME) or name.lower() == "trainval"


def choose(source: str | Path, splits: Sequence[str], wanted: str | None) -> str:
    """The split that is meant: by its name, by another for the same (val, valid), or by its beginning (train2017).

    Raises UserError with the splits there are, where it is not there or where several are and none is named.
    """
    known = ", ".join(splits[:8]) + (", ..." if len(splits) > 8 else "")
    if wanted is None:
        if len(splits) == 1:
            return splits[0]
        raise UserError(f"{source}: which split? It has {known} (--split, --data.train-split, --data.val-split)")
    same = next((names for names in _SAME if wanted.lower() in names), (wanted.lower(),))
    for fits in (
        lambda name: name == wanted,
        lambda name: name.lower() in same,
        lambda name: name.lower().rstrip("0123456789_-.") in same,
    ):
        if found := [name for name in splits if fits(name)]:
            return choose(source, found, None)
    raise UserError(f"{source}: there is no split {wanted!r}; it has {known}{nearest(wanted, splits)}")


def for_training(source: str | Path, splits: Sequence[str]) -> tuple[str, str | None]:
    """The splits to train on and to validate on (None where there is none). Raises UserError if it is not clear."""
    train = choose(source, splits, None if len(splits) == 1 else "train")
    others = [name for name in splits if name != train]
    has_validation = any(name.lower().rstrip("0123456789_-.") in _SAME[1] for name in others)
    return train, choose(source, others, "val") if has_validation else None
