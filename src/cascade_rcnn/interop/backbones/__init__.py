"""The backbones that can be converted, one file per family."""

import re

from cascade_rcnn.config import BackboneConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.backbones import convnext, mvit, regnet, res2net, resnet, swin, timm, vit
from cascade_rcnn.interop.backbones.family import Family, Peer
from cascade_rcnn.interop.renaming import State

FAMILIES: tuple[Family, ...] = (
    *(regnet.FAMILY, timm.FAMILY, res2net.FAMILY, resnet.FAMILY, vit.FAMILY, mvit.FAMILY),
    *(swin.FAMILY, swin.AUTHORS, convnext.FAMILY, convnext.AUTHORS),
)


def find(origin: str, state: State) -> Family:
    """Return the family of a checkpoint's backbone; by default ResNet's, whose missing tensors are then reported."""
    for family in FAMILIES:
        peer = family.peers.get(origin)
        if peer and any(re.match(peer.sign, name) for name in state) and peer.shown(state):
            return family
    return resnet.FAMILY


def converts(origin: str, config: BackboneConfig) -> bool:
    """Return whether a framework has backbones of this config's type."""
    return any(f.config is type(config) and origin in f.peers for f in FAMILIES)


def of_config(origin: str, config: BackboneConfig) -> Peer:
    """Return a framework's version of a config's family, which must exist."""
    return next(f.peers[origin] for f in FAMILIES if f.config is type(config))


def mmdet_type(kind: str) -> Peer:
    """Look up a `backbone.type` of mmdetection. Raises UserError if it cannot be converted."""
    return _of_type("mmdet", kind, "model.backbone.type")


def lazy_type(kind: str, name: str) -> Peer:
    """Look up a backbone's class in a LazyConfig; `name` is its setting, for the error.

    Raises UserError if it cannot be converted.
    """
    return _of_type("detectron2", kind, name)


def _of_type(origin: str, kind: str, name: str) -> Peer:
    known = {kind: f.peers[origin] for f in FAMILIES if origin in f.peers for kind in f.peers[origin].types}
    if kind not in known:
        raise UserError(f"{name} is {kind!r}; only {' or '.join(map(repr, known))} can be converted")
    return known[kind]
