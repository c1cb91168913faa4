"""torchvision's compiled operators, without its Python: importing that takes longer than importing torch.

`torch.compile` and `torch.export` of a graph with them need the whole of torchvision imported.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Greedy NMS: boxes (N, 4), scores (N,) -> int64 indices of those that survive, best first."""
    return torch.ops.torchvision.nms(boxes, scores, iou)


def _load() -> None:
    spec = find_spec("torchvision")
    for folder in (spec and spec.submodule_search_locations) or ():
        for library in sorted([*Path(folder).glob("_C*.so"), *Path(folder).glob("_C*.pyd")]):
            try:
                torch.ops.load_library(library)
            except OSError:  # built for another torch: the import, below, says so in full
                break
    if not hasattr(torch.ops.torchvision, "nms"):
        import torchvision  # noqa: F401


_load()
