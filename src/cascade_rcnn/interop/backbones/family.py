"""The types with which a converter describes a family of backbones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cascade_rcnn.config import BackboneConfig
from cascade_rcnn.interop.known import NOTHING, Known
from cascade_rcnn.interop.renaming import Layout, Names, State

Completed: TypeAlias = Callable[[Any, Any], BackboneConfig]  # (config from shapes, peer's settings) -> whole config


@dataclass(frozen=True, kw_only=True)
class Peer:
    """The backbone at one peer."""

    sign: str  # a pattern of tensor names that only this family has
    names: Names
    shown: Callable[[State], bool] = lambda _: True  # where names are those of another family: what shapes tell
    layout_in: Layout = field(default_factory=dict)  # from the peer's layout to ours; with our names
    layout_out: Layout = field(default_factory=dict)
    complete: Completed = lambda seen, _: seen
    # mmdetection: what `backbone.type` may be; detectron2: the class in a LazyConfig
    types: tuple[str, ...] = ()
    known: Known = NOTHING  # mmdetection: settings below `model.backbone`; detectron2: below that class
    # detectron2: what its stock settings are with this backbone, where they differ from those of Base-RCNN-FPN.yaml
    stock: Callable[[Any], Mapping[str, Any]] = lambda _: {}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of backbones at every peer that has it."""

    config: type
    describe: Callable[[State], BackboneConfig]  # what tensors under our names tell; the rest has its default
    peers: Mapping[str, Peer]  # by origin
