"""Findings, with records of the affected images, boxes and classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cascade_rcnn.inspection.kinds import KINDS, SEVERITIES, Kind
from cascade_rcnn.text import count

RECORDS = 1000  # kept per finding; its count includes all


@dataclass(frozen=True, kw_only=True)
class Record:
    """The image, box or class that a finding is about.

    >>> Record(split="train", image="a.jpg", image_id=1, path="images/a.jpg", detail="of 640 x 480").annotation_id
    """

    split: str
    image: str = ""  # file name in the annotations; empty for classes
    path: str = ""  # path of the file
    image_id: int | None = None
    annotation_id: int | None = None  # id in the annotation file; a running number if the format has none
    index: int | None = None  # of the box among the boxes of its image, from 0
    box: tuple[float, float, float, float] | None = None  # x, y, width, height in pixels
    label: str | None = None  # class name
    detail: str = ""  # description
    other: "Record | None" = None  # the image or box that it was compared with

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that have a value, as JSON-serializable values."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        given["other"] = None if self.other is None else self.other.to_dict()
        return {name: value for name, value in given.items() if value not in (None, "")}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """All findings of one kind: their number and the first records."""

    code: str  # key of KINDS
    count: int
    records: tuple[Record, ...]  # at most RECORDS, the most important first
    advice: str = ""  # for this data; empty: the kind's advice

    @property
    def kind(self) -> Kind:
        """The kind of the finding: its severity, title, effect and advice."""
        return KINDS[self.code]

    @property
    def amount(self) -> str:
        """The count with its noun: `3 boxes`."""
        return count(self.count, self.kind.noun)

    @property
    def splits(self) -> list[str]:
        """The names of the splits in which it occurs."""
        return list(dict.fromkeys(record.split for record in self.records))

    def to_dict(self) -> dict[str, Any]:
        """Return the content as JSON-serializable values."""
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
    """Return a list with the finding, empty if there are no records; `number` is the count if there are more."""
    if not records:
        return []
    total = len(records) if number is None else number
    return [Finding(code=code, count=total, records=tuple(records[:RECORDS]), advice=advice)]


def sorted_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings by severity, then by the order of KINDS."""
    order = {code: k for k, code in enumerate(KINDS)}
    severities = list(SEVERITIES)
    return sorted(findings, key=lambda one: (severities.index(one.kind.severity), order[one.code]))
