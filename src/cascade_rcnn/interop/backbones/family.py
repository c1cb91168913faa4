"""The description of a backbone family for the converters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cascade_rcnn.config import BackboneConfig
from cascade_rcnn.interop.known import NOTHING, Known
from cascade_rcnn.interop.renaming import Layout, Names, State

Completed: TypeAlias = Callable[[Any, Any], BackboneConfig]  # (config from shapes, their settings) -> complete config


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A backbone family in one framework."""

    sign: str  # a pattern of tensor names that identifies the family
    names: Names
    shown: Callable[[State], bool] = lambda _: True  # distinguishes families with the same names
    layout_in: Layout = field(default_factory=dict)  # from their layout to ours; with our names
    layout_out: Layout = field(default_factory=dict)
    complete: Completed = lambda seen, _: seen
    # values of mmdetection's `backbone.type`, or class names in detectron2's LazyConfigs
    types: tuple[str, ...] = ()
    known: Known = NOTHING  # settings below mmdetection's `model.backbone`, or of the class in a LazyConfig
    # detectron2's default settings with this backbone that differ from those of Base-RCNN-FPN.yaml
    stock: Callable[[Any], Mapping[str, Any]] = lambda _: {}


@dataclass(frozen=True, kw_only=True)
class Family:
    """A backbone family in every framework that has it."""

    config: type
    describe: Callable[[State], BackboneConfig]  # infers what it can of the config from tensors under our names
    peers: Mapping[str, Peer]  # by origin
