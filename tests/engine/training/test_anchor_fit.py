"""The note on anchors that do not fit the boxes."""

import re

from cascade_rcnn import create_model, load_annotations
from cascade_rcnn.engine.training.anchor_fit import anchor_notes

THIN = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8}


def config(sizes: tuple[int, ...]):
    return create_model("cascade_rcnn_resnet18_fpn", 4, anchor_sizes=sizes, min_size=64, **THIN).config


def test_anchors_that_fit_are_not_mentioned(shapes):
    annotations = load_annotations(shapes / "train.json")
    assert anchor_notes(config((8, 16, 24, 32, 48)), annotations) == []


def test_better_anchors_are_named_and_fit(shapes):
    annotations = load_annotations(shapes / "train.json")
    (note,) = anchor_notes(config((128, 256, 512, 1024, 2048)), annotations)
    assert note.startswith("only 0 % of the boxes have an anchor of IoU 0.5 or more; ")
    share, sizes = re.search(r"(\d+) % would have one with --options.anchor-sizes ([\d ]+\d)", note).groups()
    assert int(share) > 0
    assert len(sizes.split()) == 5
