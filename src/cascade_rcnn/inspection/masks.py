"""Findings about masks: missing, unusable, or mostly outside their box."""

from collections.abc import Sequence

import numpy as np

from cascade_rcnn.data.segmentations import misplaced
from cascade_rcnn.inspection.findings import Finding, Record, finding
from cascade_rcnn.inspection.splits import Split


def mask_findings(splits: Sequence[Split]) -> list[Finding]:
    """Return the findings about the masks of all splits; none if there are no masks."""
    outside: list[Record] = []
    without: list[Record] = []
    for split in splits:
        truth = split.annotations
        if truth.segmentations is None:
            continue
        extents = truth.segmentations.extents(truth.image_sizes.numpy()[split.owners])
        for row in misplaced(extents, truth.boxes.numpy()).tolist():
            outside.append(split.box(row, f"mask [{', '.join(f'{value:.4g}' for value in extents[row])}]"))
        lacking = ~truth.segmentations.has() & ~truth.ignore.numpy() & split.sized
        without += map(split.box, np.flatnonzero(lacking).tolist())
    return [*finding("misplaced_mask", outside), *finding("without_mask", without)]
