"""The backbones that convert, one file per family."""

import re

from cascade_rcnn.config import BackboneConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.backbones import resnet
from cascade_rcnn.interop.backbones.family import Family, Peer
from cascade_rcnn.interop.renaming import State

FAMILIES: tuple[Family, ...] = (resnet.FAMILY,)


def find(origin: str, state: State) -> Family:
    """Return the family that a peer's tensors belong to; where none is recognised the first, whose names then miss."""
    for family in FAMILIES:
        peer = family.peers.get(origin)
        if peer and any(re.match(peer.sign, name) for name in state):
            return family
    return FAMILIES[0]


def converts(origin: str, config: BackboneConfig) -> bool:
    """Whether a backbone of this config is found at a peer."""
    return any(f.config is type(config) and origin in f.peers for f in FAMILIES)


def of_config(origin: str, config: BackboneConfig) -> Peer:
    """Return what is known of a config's family at a peer, where it converts."""
    return next(f.peers[origin] for f in FAMILIES if f.config is type(config))


def mmdet_type(kind: str) -> Peer:
    """Return what is known of a `backbone.type` of mmdetection. Raises UserError for one that does not convert."""
    known = {name: f.peers["mmdet"] for f in FAMILIES if "mmdet" in f.peers for name in f.peers["mmdet"].types}
    if kind not in known:
        raise UserError(f"model.backbone.type is {kind!r}; {' or '.join(map(repr, known))} converts")
    return known[kind]
