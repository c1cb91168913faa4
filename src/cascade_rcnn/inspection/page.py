"""The HTML page of a dataset inspection, with a limited number of small pictures."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image

from cascade_rcnn.auto.anchors import IOU
from cascade_rcnn.boxes import to_xywh
from cascade_rcnn.inspection.augmented import Sample
from cascade_rcnn.inspection.findings import Finding, Record
from cascade_rcnn.inspection.kinds import SEVERITIES
from cascade_rcnn.inspection.look import Look, example
from cascade_rcnn.inspection.pictures import COLORS, Marked, color_of, drawn, picture, picture_of
from cascade_rcnn.inspection.sizes import GOOD, Bin
from cascade_rcnn.inspection.splits import Split
from cascade_rcnn.pages import Picture, data_uri, render
from cascade_rcnn.text import count

PICTURES = 8  # per finding
_SAMPLES = 12  # images of the data, in all splits
_LINES = 40  # records listed per finding
_NAMED = 4  # classes named below an image, the most frequent ones
_QUALITY = 72
_KINDS = {"wrong": "bad", "look": "warn", "info": ""}


def look_page(look: Look, *, version: str, samples: Sequence[Sample] = (), recipe: str = "") -> str:
    """Return the page as HTML; `samples` are images as augmented by `recipe`."""
    splits = {split.name: split for split in look.splits}
    findings = []
    for one in look.findings:
        pictures = list(_pictures(one, splits))
        pairs = any(record.box is None and record.other is not None for record in one.records)
        shown = {"kind": _KINDS[one.kind.severity], "tags": _tags(one), "pictures": pictures, "pairs": pairs}
        findings.append({"one": one, **shown})
    numbers = Counter(one.kind.severity for one in look.findings)
    categories = look.sizes.split.annotations.categories
    split_choices = [(f"split {split.name}", split.name) for split in look.splits]
    return render(
        "look.html.j2",
        look=look,
        version=version,
        severities=SEVERITIES,
        numbers=numbers,
        findings=findings,
        lines=_LINES,
        example=example,
        choices=[(key, f"{text[0].upper()}{text[1:]}") for key, text in SEVERITIES.items() if key in numbers]
        + (split_choices if len(look.splits) > 1 else []),
        split_choices=split_choices,
        images=_many(sum(len(split.annotations) for split in look.splits), "image"),
        boxes=_many(sum(split.boxes for split in look.splits), "box"),
        classes=_many(len(look.classes), "class"),
        class_heads=[
            "class",
            *(f"{split.name} {what}" for split in look.splits for what in ("boxes", "images")),
            "share",
        ],
        class_rows=_class_rows(look),
        by_side=_bars(look.sizes.by_side),
        by_shape=_bars(look.sizes.by_shape),
        share_rows=[_share_row(one) for one in look.sizes.by_class],
        without_50=look.sizes.without(IOU),
        without_70=look.sizes.without(GOOD),
        samples=list(_samples(look.splits)),
        palette=[(category.name, color_of(k)) for k, category in enumerate(categories[: len(COLORS)], start=1)],
        uncoloured=max(0, len(categories) - len(COLORS)),
        augmented=[_augmented(one) for one in samples],
        recipe=recipe,
    )


def _many(number: int, noun: str) -> str:
    return count(number, noun).replace(str(number), f"{number:,}")


def _tags(one: Finding) -> list[str]:
    return [one.kind.severity, *(f"split {name}" for name in one.splits)]


def _pictures(one: Finding, splits: dict[str, Split]) -> Iterator[Picture]:
    """Yield pictures of the first records, at most two per image, and none of files that cannot be read."""
    seen: Counter[str] = Counter()
    for record in one.records:
        split = splits[record.split]
        if record.image_id is None or seen[record.path] >= 2 or seen.total() >= PICTURES:
            continue
        i = int(np.flatnonzero(split.annotations.image_ids.numpy() == record.image_id)[0])
        if i in split.problems:
            continue
        found = picture_of(record, split.annotations.boxes[split.annotations.rows(i)].tolist())
        if found is not None:
            seen[record.path] += 1
            yield _shown(found, _caption(record), f"{record.split}: {record.image}")


def _caption(record: Record) -> str:
    parts = []
    if record.annotation_id is not None:
        parts.append(f"annotation {record.annotation_id}")
    if record.label is not None:
        parts.append(record.label)
    return ": ".join(filter(None, (", ".join(parts), record.detail))) or f"image {record.image_id}"


def _shown(image: PIL.Image.Image, caption: str, path: str, tags: Sequence[str] = ()) -> Picture:
    return Picture(data_uri(image, longest=860, quality=_QUALITY), f"{path} {caption}", caption, path, tags)


def _samples(splits: Sequence[Split]) -> Iterator[Picture]:
    """Yield images with their boxes in the colours of their classes: the same number, evenly spaced, of each split."""
    each = max(1, _SAMPLES // len(splits))
    for split in splits[:_SAMPLES]:
        truth, usable = split.annotations, np.flatnonzero(split.usable)
        for i in usable[np.linspace(0, len(usable) - 1, min(each, len(usable))).round().astype(np.int64)].tolist():
            rows = truth.rows(i)
            marks = [
                Marked(box, color_of(label))
                for box, label in zip(truth.boxes[rows].tolist(), truth.labels[rows].tolist(), strict=True)
            ]
            names = Counter(truth.categories[label - 1].name for label in truth.labels[rows].tolist())
            most = names.most_common(_NAMED)
            listed = [f"{number} {name}" for name, number in most]
            if others := names.total() - sum(number for _, number in most):
                listed.append(f"{others} more")
            caption = ", ".join(listed) or "no objects"
            image = picture(str(truth.path(i)), marks)
            yield _shown(image, caption, f"{split.name}: {truth.file_names[i]}", (f"split {split.name}",))


def _augmented(sample: Sample) -> Picture:
    pairs = zip(to_xywh(sample.boxes).tolist(), sample.labels.tolist(), strict=True)
    marks = [Marked(box, color_of(label)) for box, label in pairs]
    height, width = sample.pixels.shape[:2]
    what = "original" if sample.draw == 0 else f"augmentation {sample.draw}"
    return _shown(drawn(sample.pixels, marks), f"{what}, {width} x {height}", sample.name)


def _class_rows(look: Look) -> list[list[Any]]:
    total = max(1, sum(sum(one.boxes.values()) for one in look.classes))
    rows = []
    for one in sorted(look.classes, key=lambda one: -sum(one.boxes.values())):
        boxes = sum(one.boxes.values())
        counts = [value for split in look.splits for value in (one.boxes[split.name], one.images[split.name])]
        rows.append([one.name, *counts, f"{boxes / total:.1%}"])
    return rows


def _bars(bins: Sequence[Bin]) -> list[tuple[str, list[float], str]]:
    """Return rows of stacked bars: boxes whose best anchor has an IoU of at least 0.7, of at least 0.5, or less."""
    most = max(1, *(one.boxes for one in bins))
    return [
        (
            one.name,
            [part / most for part in (one.good, one.fair - one.good, one.boxes - one.fair)],
            f"{one.boxes:,}",
        )
        for one in bins
    ]


def _share_row(one: Bin) -> list[Any]:
    some = max(1, one.boxes)
    return [one.name, f"{one.boxes:,}", *(f"{(one.boxes - reached) / some:.1%}" for reached in (one.fair, one.good))]
