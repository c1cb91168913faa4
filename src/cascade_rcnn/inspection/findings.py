"""Kinds of findings, with severity, effect and advice, and the records of where they were found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from cascade_rcnn.text import count

Severity: TypeAlias = Literal["wrong", "look", "info"]
SEVERITIES: dict[Severity, str] = {
    "wrong": "training would go wrong",
    "look": "worth a look",
    "info": "for information",
}
RECORDS = 1000  # of a finding; its count is of all


class Kind(NamedTuple):
    """A kind of finding; its name is stable."""

    severity: Severity
    noun: str  # what is counted
    title: str
    effect: str  # in training
    advice: str


KINDS: dict[str, Kind] = {
    "missing_image": Kind(
        "wrong",
        "image",
        "Images that do not exist",
        "Training stops before it begins, or, with --data.bad-images skip, does without them.",
        "Give the right folder (--images), or remove these images from the annotations.",
    ),
    "unreadable_image": Kind(
        "wrong",
        "image",
        "Images that cannot be read",
        "Training stops before it begins, or, with --data.bad-images skip, does without them.",
        "Copy or export them again, or remove them from the annotations.",
    ),
    "size_differs": Kind(
        "wrong",
        "image",
        "Images of another size than annotated",
        "The boxes belong to another picture: one that was resized, or turned, after or before it was annotated. "
        "Training stops.",
        "Annotate the files that are there, or restore those that were annotated.",
    ),
    "shared_file": Kind(
        "wrong",
        "image",
        "Several image records with the same file",
        "Each record has only some of the objects, and the others count as background. Training stops.",
        "Merge the records.",
    ),
    "no_boxes": Kind(
        "wrong",
        "split",
        "No box to learn from",
        "There is nothing to train on.",
        "Check the annotations of the training set.",
    ),
    "classes_differ": Kind(
        "wrong",
        "class",
        "Classes that only some splits declare",
        "Labels would mean different things; training stops.",
        "Give all splits the same list of classes, with the same ids.",
    ),
    "class_without_training": Kind(
        "wrong",
        "class",
        "Classes to be found without an example to learn from",
        "The model can never find them: their AP is 0, and lowers the mean.",
        "Move some images with them into the training set, or remove the class.",
    ),
    "duplicate_across_splits": Kind(
        "wrong",
        "image",
        "The same file in two splits",
        "The model is measured on what it has seen in training, and AP is too high.",
        "Remove it from one of the splits.",
    ),
    "near_duplicate_across_splits": Kind(
        "look",
        "image",
        "Nearly the same picture in two splits",
        "Copies in another size or compression, or frames of one scene: AP is too high.",
        "Split by scene, video or patient, not by picture.",
    ),
    "lost_box": Kind(
        "look",
        "box",
        "Boxes without a size, or outside their image",
        "Training leaves them out, and the object, if there is one, counts as background.",
        "Draw them again or delete them.",
    ),
    "reaching_box": Kind(
        "look",
        "box",
        "Boxes that reach outside their image",
        "Training clips them. Many of them mean that sizes or coordinates are not what they seem.",
        "Check the first; clip them if they are right.",
    ),
    "repeated_box": Kind(
        "look",
        "box",
        "The same object annotated twice",
        "Boxes of one class that nearly coincide (IoU above 0.95). A detector gives one, and the other counts as "
        "missed.",
        "Delete one of each pair.",
    ),
    "two_classes": Kind(
        "look",
        "box",
        "The same object in two classes",
        "Boxes of two classes that nearly coincide (IoU above 0.95): the model is taught both.",
        "Decide for one, unless objects may have both.",
    ),
    "class_without_validation": Kind(
        "look",
        "class",
        "Classes that are learned but not measured",
        "No validation image shows them: AP says nothing about them.",
        "Move some images with them into the validation set.",
    ),
    "rare_class": Kind(
        "look",
        "class",
        "Classes with few boxes to learn from",
        "Fewer than 20 boxes in the training set; expect little.",
        "Annotate more of them, or merge the class with another.",
    ),
    "no_anchor": Kind(
        "look",
        "box",
        "Boxes that no anchor fits",
        "No anchor has IoU 0.5 with them at the size that training uses, so the RPN learns them only by its rule for "
        "the best of bad anchors.",
        "Train with the anchors given here, or with `train auto`, which chooses them.",
    ),
    "tiny_box": Kind(
        "look",
        "box",
        "Boxes that are tiny in the network's input",
        "Below 8 pixels (the root of their area) after resizing, little of an object is left to see.",
        "Train at a larger size (--options.min-size), or cut the images into tiles.",
    ),
    "crowded_image": Kind(
        "look",
        "image",
        "Images with more objects than the model gives",
        "The rest is missed, however good the model is.",
        "Raise max_detections in `predict`, or cut the images into tiles.",
    ),
    "turned_unclear": Kind(
        "look",
        "image",
        "EXIF turns that annotations may not know of",
        "The image is read upright, as its EXIF orientation says. Its size does not tell whether the boxes were drawn "
        "on the upright picture.",
        "Look at the boxes on them; if they do not fit, save the images without EXIF orientation.",
    ),
    "duplicate_image": Kind(
        "look",
        "image",
        "The same file twice in a split",
        "It counts twice. If its annotations differ, one of them teaches the wrong thing.",
        "Remove the copies.",
    ),
    "missing_label": Kind(
        "look",
        "label",
        "Objects found with confidence where none is annotated",
        "If they are real, training teaches the model that they are background.",
        "Look at the first of them; the most confident come first.",
    ),
    "class_disagreement": Kind(
        "look",
        "label",
        "Objects that the model gives another class",
        "Either the label or the model is wrong.",
        "Look at the first of them; the most confident come first.",
    ),
    "unreached_label": Kind(
        "look",
        "label",
        "Labels where the model finds nothing",
        "Hard objects, or boxes that do not belong there.",
        "Look at the first of them; the largest come first.",
    ),
    "near_duplicate_image": Kind(
        "info",
        "image",
        "Nearly the same picture twice in a split",
        "Copies in another size or compression, or frames of one scene: they add little.",
        "Nothing, or keep one of each scene.",
    ),
    "thin_box": Kind(
        "info",
        "box",
        "Very long boxes",
        "More than 20 times longer than wide: hard to learn, and often a slip of the mouse.",
        "Check the first.",
    ),
    "empty_image": Kind(
        "info",
        "image",
        "Images without objects",
        "They count as background, which is good where it is true.",
        "Check that they are really empty and not just not annotated.",
    ),
    "turned_image": Kind(
        "info",
        "image",
        "Images turned by EXIF",
        "They are read upright, and their annotations fit the upright size.",
        "Nothing.",
    ),
    "wrong_extension": Kind(
        "info",
        "image",
        "Files that are not what their names say",
        "They are read by their content, so training is not affected; other programs may refuse them.",
        "Rename them.",
    ),
    "unused_class": Kind(
        "info",
        "class",
        "Classes without any box",
        "They are learned as never present.",
        "Remove them from the list of classes, unless examples will follow.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Record:
    """Where something was found: an image, a box in it, or a class.

    >>> Record(split="train", image="a.jpg", image_id=1, path="images/a.jpg", detail="of 640 x 480").annotation_id
    """

    split: str
    image: str = ""  # the file's name in the annotations; empty for a class
    path: str = ""  # ... and its path
    image_id: int | None = None
    annotation_id: int | None = None  # its id in the file; by order where the format has none
    index: int | None = None  # the box's place among the boxes of its image, from 0
    box: tuple[float, float, float, float] | None = None  # x, y, width, height in pixels
    label: str | None = None  # the class
    detail: str = ""  # in words
    other: "Record | None" = None  # what it is compared with

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that have a value, for JSON."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        given["other"] = None if self.other is None else self.other.to_dict()
        return {name: value for name, value in given.items() if value not in (None, "")}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A finding of one kind, with its first records."""

    code: str  # of KINDS
    count: int
    records: tuple[Record, ...]  # at most RECORDS, those most worth a look first
    advice: str = ""  # of this data; empty: the kind's own

    @property
    def kind(self) -> Kind:
        """The title of its kind."""
        return KINDS[self.code]

    @property
    def amount(self) -> str:
        """The count with its noun: `3 boxes`."""
        return count(self.count, self.kind.noun)

    @property
    def splits(self) -> list[str]:
        """The splits of its records."""
        return list(dict.fromkeys(record.split for record in self.records))

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        kind = self.kind
        return {
            "code": self.code,
            "severity": kind.severity,
            "title": kind.title,
            "count": self.count,
            "noun": kind.noun,
            "effect": kind.effect,
            "advice": self.advice or kind.advice,
            "records": [record.to_dict() for record in self.records],
        }


def finding(code: str, records: Sequence[Record], *, number: int | None = None, advice: str = "") -> list[Finding]:
    """Return the finding, or nothing without records; `number` counts those beyond the records."""
    if not records:
        return []
    total = len(records) if number is None else number
    return [Finding(code=code, count=total, records=tuple(records[:RECORDS]), advice=advice)]


def sorted_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return the worst first, in the order of KINDS."""
    order = {code: k for k, code in enumerate(KINDS)}
    severities = list(SEVERITIES)
    return sorted(findings, key=lambda one: (severities.index(one.kind.severity), order[one.code]))
