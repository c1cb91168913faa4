"""Numbers of boxes and images of each class in each split, and findings about classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascade_rcnn.auto.survey import RARE, learned
from cascade_rcnn.data.splits import rank
from cascade_rcnn.inspection.findings import Finding, Record, finding
from cascade_rcnn.inspection.splits import Split, training_of
from cascade_rcnn.text import count


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """Numbers of boxes (without ignored regions) of a class, and of images that contain it, by split."""

    name: str
    boxes: dict[str, int]
    images: dict[str, int]


def count_classes(splits: Sequence[Split]) -> list[ClassCount]:
    """Count the boxes and images of every class that any split declares."""
    names = dict.fromkeys(category.name for split in splits for category in split.annotations.categories)
    counts = []
    for name in names:
        rows = {split.name: (split, split.boxes_of(name)) for split in splits}
        counts.append(
            ClassCount(
                name=name,
                boxes={key: len(some) for key, (_, some) in rows.items()},
                images={key: len(np.unique(split.owners[some])) for key, (split, some) in rows.items()},
            )
        )
    return counts


def class_findings(splits: Sequence[Split], counts: Sequence[ClassCount]) -> list[Finding]:
    """Return the findings about classes, and about images without objects."""
    training = training_of(splits)
    found = _empty(splits) + _unused(splits, counts)
    if training is None:
        return found
    others = [split for split in splits if split is not training]
    differ = _differing(training, others)
    undeclared = {record.label for record in differ}
    found += finding("classes_differ", differ)
    without = [split for split in splits if not _has_boxes(split)]
    found += finding("no_boxes", [Record(split=split.name) for split in without])
    if training in without:
        return found
    rare, unseen, unmeasured = [], [], []
    for one in counts:
        seen, elsewhere = one.boxes[training.name], {split.name: one.boxes[split.name] for split in others}
        where = ", ".join(f"{count(number, 'box')} in {name}" for name, number in elsewhere.items() if number)
        if 0 < seen < RARE:
            rare.append(_class(training, one.name, f"{count(seen, 'box')} in {training.name}"))
        if one.name in undeclared:
            continue
        if not seen and where:
            split = next(split for split in others if elsewhere[split.name])
            unseen.append(_class(split, one.name, f"{where}, none in {training.name}"))
        if seen and others and not where:
            unmeasured.append(_class(training, one.name, f"{count(seen, 'box')} in {training.name}, none elsewhere"))
    for code, records in (
        ("rare_class", rare),
        ("class_without_training", unseen),
        ("class_without_validation", unmeasured),
    ):
        found += finding(code, records)
    return found


def _has_boxes(split: Split) -> bool:
    """Return whether a split has the boxes that training or validation needs; a test set needs none."""
    if split.is_training:
        return len(learned(split.annotations)[0]) > 0
    return split.boxes > 0 or rank(split.name) != rank("val")


def _class(split: Split, name: str, detail: str) -> Record:
    """Return the record of a class, with its first box if it has one."""
    rows = split.boxes_of(name)
    if not len(rows):
        return Record(split=split.name, label=name, detail=detail)
    return split.box(int(rows[0]), detail)


def _empty(splits: Sequence[Split]) -> list[Finding]:
    empty = [(split, i) for split in splits for i in np.flatnonzero(split.annotations.first.diff().numpy() == 0)]
    return finding("empty_image", [split.image(int(i)) for split, i in empty])


def _unused(splits: Sequence[Split], counts: Sequence[ClassCount]) -> list[Finding]:
    unused = [one.name for one in counts if not any(one.boxes.values())]
    return finding("unused_class", [Record(split=splits[0].name, label=name) for name in unused])


def _differing(training: Split, others: Sequence[Split]) -> list[Record]:
    """Return a record for each class (id and name) that only one of the training set and another split has."""
    records: dict[str, Record] = {}
    ours = training.annotations.categories
    for split in others:
        theirs = split.annotations.categories
        for holder, lacking, some in ((split, training, ours), (training, split, theirs)):
            for category in holder.annotations.categories:
                if category not in some:
                    detail = f"id {category.id} in {holder.name}, missing or different in {lacking.name}"
                    records.setdefault(category.name, Record(split=holder.name, label=category.name, detail=detail))
    return list(records.values())
