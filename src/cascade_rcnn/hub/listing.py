"""List the published detectors as text, JSON and Markdown."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from cascade_rcnn.hub.peers import outcome
from cascade_rcnn.hub.table import Published, published
from cascade_rcnn.hub.weights import place
from cascade_rcnn.text import count

Entry: TypeAlias = dict[str, Any]
_HEADS = ("box AP", "mask AP", "MB", "cached", "backbone", "data", "licence", "name")


def entries(*, every: bool) -> list[Entry]:
    """Return published detectors by descending box AP; without `every`, only those that can be converted."""
    found = [_entry(row) for row in published().values()]
    return sorted((e for e in found if every or e["converts"] != "none"), key=lambda e: (-e["box_ap"], e["name"]))


def entry(name: str) -> Entry:
    """Return the entry of a published detector, empty if there is none of this name."""
    return _entry(published()[name]) if name in published() else {}


def _entry(row: Published) -> Entry:
    kept, found = place(row), outcome(row)
    cached = kept.is_file()
    return {
        "name": row.name,
        "box_ap": row.box_ap,
        "mask_ap": row.mask_ap,
        "megabytes": round(kept.stat().st_size / 1e6) if cached else row.megabytes,
        "cached": cached,
        "backbone": row.backbone,
        "dataset": row.dataset,
        "licence": row.source.licence,
        "converts": found.part,
        "reason": found.reason,
        "url": row.url,
        "page": row.source.page,
    }


def as_json(value: Entry | Sequence[Entry]) -> str:
    """Format as indented JSON."""
    return json.dumps(value, indent=1)


def as_lines(listed: Sequence[Entry]) -> list[str]:
    """Format as a table, with the longest column last, and a summary."""
    rows = [_HEADS, *(_cells(e) for e in listed)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(_HEADS) - 1)]
    lines = [
        "  ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    rest = len(published()) - len(listed)
    more = f"; {count(rest, 'other')} cannot be used yet: --all" if rest else ""
    return [*lines, "", f"{count(len(listed), 'detector')}{more}"]


def _cells(e: Entry) -> tuple[str, ...]:
    why = f"  ({e['reason']})" if e["converts"] == "none" else ""
    mask = "" if e["mask_ap"] is None else f"{e['mask_ap']:.1f}"
    size = "" if e["megabytes"] is None else f"{e['megabytes']:.0f}"
    cached = "yes" if e["cached"] else ""
    return (f"{e['box_ap']:.1f}", mask, size, cached, e["backbone"], e["dataset"], e["licence"], e["name"] + why)


def as_markdown(listed: Iterable[Entry]) -> list[str]:
    """Format as the table in the documentation."""
    lines = ["| box AP | mask AP | backbone | data | converts | name |", "|---|---|---|---|---|---|"]
    for e in listed:
        mask = "" if e["mask_ap"] is None else f"{e['mask_ap']:.1f}"
        how = "whole" if e["converts"] == "whole" else f"no: {e['reason']}"
        lines.append(f"| {e['box_ap']:.1f} | {mask} | {e['backbone']} | {e['dataset']} | {how} | `{e['name']}` |")
    return lines
