"""The result of inspecting a dataset: splits, classes, sizes and findings, also as a console table and JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cascade_rcnn.auto.anchors import IOU
from cascade_rcnn.config import ModelConfig
from cascade_rcnn.inspection.boxes import box_findings
from cascade_rcnn.inspection.classes import ClassCount, class_findings, count_classes
from cascade_rcnn.inspection.files import file_findings
from cascade_rcnn.inspection.findings import Finding, Record, sorted_findings
from cascade_rcnn.inspection.kinds import SEVERITIES, Severity
from cascade_rcnn.inspection.labels import SplitDetections, label_findings
from cascade_rcnn.inspection.masks import mask_findings
from cascade_rcnn.inspection.sizes import GOOD, Bin, Sizes, measure, size_findings
from cascade_rcnn.inspection.splits import Split, training_of
from cascade_rcnn.text import count, printable

FORMAT = 1  # of look.json
_CLASSES = 12  # shown on the console
_STYLES: dict[Severity, str] = {"wrong": "bold red", "look": "yellow", "info": "cyan"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """The contents and problems of a dataset.

    >>> seen = look("shapes")
    >>> [split.name for split in seen.splits], seen.goes_wrong
    (['train', 'val'], False)
    >>> [finding.code for finding in seen.findings]
    ['rare_class']
    """

    source: str
    splits: tuple[Split, ...]
    classes: tuple[ClassCount, ...]
    sizes: Sizes
    findings: tuple[Finding, ...]  # the most serious first

    @property
    def goes_wrong(self) -> bool:
        """Whether there are problems to fix before training."""
        return any(finding.kind.severity == "wrong" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """A one-line summary of the findings."""
        numbers = {severity: sum(one.kind.severity == severity for one in self.findings) for severity in SEVERITIES}
        wrong, worth, info = (numbers[severity] for severity in ("wrong", "look", "info"))
        parts = []
        if wrong:
            parts.append(f"{count(wrong, 'problem')} to fix before training")
        if worth:
            parts.append(f"{count(worth, 'finding')} worth checking")
        if not parts:
            return "No problems found" + (f"; {count(info, 'remark')}" if info else "")
        return ", ".join(parts)

    @property
    def notes(self) -> list[str]:
        """Notes made while reading the annotations, without repetitions."""
        return list(dict.fromkeys(note for split in self.splits for note in split.annotations.notes))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of look.json."""
        return {
            "format": FORMAT,
            "source": self.source,
            "goes_wrong": self.goes_wrong,
            "splits": [
                {
                    "name": split.name,
                    "source": split.annotations.source,
                    "is_training": split.is_training,
                    "images": len(split.annotations),
                    "boxes": split.boxes,
                    "ignored": len(split.annotations.boxes) - split.boxes,
                }
                for split in self.splits
            ],
            "classes": [{"name": one.name, "boxes": one.boxes, "images": one.images} for one in self.classes],
            "anchors": {
                "model": self.sizes.model,
                "resized": self.sizes.resized,
                "sizes": list(self.sizes.anchors),
                "ratios": list(self.sizes.ratios),
                "split": self.sizes.split.name,
                "boxes": len(self.sizes.rows),
                "without_iou_50": self.sizes.without(IOU),
                "without_iou_70": self.sizes.without(GOOD),
                "by_side": [_of_bin(one) for one in self.sizes.by_side],
                "by_shape": [_of_bin(one) for one in self.sizes.by_shape],
                "by_class": [_of_bin(one) for one in self.sizes.by_class],
            },
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": self.notes,
        }

    def table(self) -> RenderableType:
        """Return tables of the classes and findings, to be printed with a rich console."""
        return Group(self._of_classes(), "", *self._of_sizes(), "", self._of_findings())

    def _of_classes(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("boxes by class")
        for split in self.splits:
            table.add_column(printable(split.name), justify="right")
        for one in sorted(self.classes, key=lambda one: -sum(one.boxes.values()))[:_CLASSES]:
            table.add_row(Text(printable(one.name)), *(str(one.boxes[split.name]) for split in self.splits))
        if len(self.classes) > _CLASSES:
            table.add_row(f"and {len(self.classes) - _CLASSES} more", *("" for _ in self.splits), style="dim")
        table.add_section()
        table.add_row("images", *(str(len(split.annotations)) for split in self.splits))
        return table

    def _of_sizes(self) -> list[Text]:
        anchors = ", ".join(map(str, self.sizes.anchors))
        shares = f"{self.sizes.without(IOU):.1%} of the boxes have no anchor of IoU 0.5, {self.sizes.without(GOOD):.1%}"
        return [Text(f"{shares} none of IoU 0.7 (anchor sizes {anchors}; {self.sizes.resized}; {self.sizes.model})")]

    def _of_findings(self) -> RenderableType:
        verdict = Text(f"{self.verdict}.", style="bold")
        if not self.findings:
            return verdict
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for _ in range(3):
            table.add_column(overflow="fold")
        for one in self.findings:
            style = _STYLES[one.kind.severity]
            amount = Text(one.amount, style=style)
            table.add_row(amount, one.kind.title, Text(printable(example(one.records[0])), style="dim"))
        return Group(verdict, table)


def example(record: Record) -> str:
    """Describe a record in one line: `train: a.jpg, annotation 12 (cat): 3 pixels outside`."""
    place = f"{record.split}: {record.image}" if record.image else record.split
    if record.annotation_id is not None:
        place += f", annotation {record.annotation_id}"
    if record.label is not None:
        place += f" ({record.label})"
    return f"{place}: {record.detail}" if record.detail else place


def _of_bin(one: Bin) -> dict[str, Any]:
    return {"name": one.name, "boxes": one.boxes, "with_iou_70": one.good, "with_iou_50": one.fair}


def inspect(
    source: str, splits: Sequence[Split], config: ModelConfig, model: str, found: Sequence[SplitDetections] = ()
) -> Look:
    """Inspect splits for a model with this config; `found` are the detections of a model, if one was run."""
    classes = count_classes(splits)
    sizes = measure(training_of(splits) or splits[0], config, model)
    findings = [
        *file_findings(splits),
        *box_findings(splits),
        *mask_findings(splits),
        *class_findings(splits, classes),
        *size_findings(splits, sizes, config.inference.max_detections),
        *label_findings(found),
    ]
    return Look(
        source=source,
        splits=tuple(splits),
        classes=tuple(classes),
        sizes=sizes,
        findings=tuple(sorted_findings(findings)),
    )
