"""Export to a .pt2 file, which needs only torch and torchvision to run."""

from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from cascade_rcnn import nms
from cascade_rcnn.export.graph import quiet
from cascade_rcnn.models import weighted_sum
from cascade_rcnn.runtime.description import KEY, Description


def write(program: ExportedProgram, description: Description, path: Path) -> None:
    """Save the program with custom operators decomposed."""
    parts: dict[Any, Any] = {nms.OPERATOR: nms.single_call, weighted_sum.OPERATOR: weighted_sum.by_embedding_bag}
    with quiet():
        program = program.run_decompositions(parts)
        with path.open("wb") as file:  # given a path, torch would insist on the suffix
            torch.export.save(program, file, extra_files={KEY: description.to_json()})
