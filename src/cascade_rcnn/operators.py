"""Custom operators, and torchvision's compiled ones without its Python code, which takes longer to import than torch.

`torch.compile` and `torch.export` of graphs with torchvision's operators still need torchvision fully imported.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_OURS = torch.library.Library("cascade_rcnn", "FRAGMENT")


def define(name: str, function: Callable[..., Tensor], shape: Callable[..., Tensor], *, waits: bool = False) -> Any:
    """Register a function of tensors as an operator that is opaque to compilers; `shape` returns an empty result.

    `torch.library.custom_op` does the same, but its first call imports torch's compiler, which takes a second.
    `waits`: the function waits for the GPU, so that CUDA graphs have to end before it and start again after it.
    """
    tags = (torch.Tag.pt2_compliant_tag, *([torch.Tag.cudagraph_unsafe] if waits else []))
    _OURS.define(name + torch.library.infer_schema(function, mutates_args=()), tags=tags)
    _OURS.impl(name, function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"cascade_rcnn::{name}", shape, lib=_OURS)
    return getattr(torch.ops.cascade_rcnn, name).default


def differentiate(operator: Any, backward: Callable[..., Any], keep: Callable[..., None]) -> None:
    """Register an operator's gradient; `keep` saves what `backward` needs, as in `torch.library.register_autograd`."""
    torch.library.register_autograd(operator, backward, setup_context=keep, lib=_OURS)


def nms(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Apply greedy NMS to boxes (N, 4), scores (N,); returns int64 indices of the survivors, sorted by score."""
    return torch.ops.torchvision.nms(boxes, scores, iou)


def _load() -> None:
    spec = find_spec("torchvision")
    for folder in (spec and spec.submodule_search_locations) or ():
        for library in sorted([*Path(folder).glob("_C*.so"), *Path(folder).glob("_C*.pyd")]):
            try:
                torch.ops.load_library(library)
            except OSError:  # built for another torch; the import below raises the full error
                break
    if not hasattr(torch.ops.torchvision, "nms"):
        import torchvision  # noqa: F401


_load()
