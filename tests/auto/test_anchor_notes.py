"""The warning about poorly fitting anchors, with coverage computed by hand."""

from pathlib import Path

import numpy as np

from cascade_rcnn import Category
from cascade_rcnn.auto.anchor_notes import anchor_notes
from cascade_rcnn.auto.anchors import coverage
from cascade_rcnn.config import AnchorConfig, ModelConfig, PreprocessConfig, RPNConfig
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.assemble import assemble

CONFIG = ModelConfig(
    preprocess=PreprocessConfig(min_size=(100, 200), max_size=1000),
    rpn=RPNConfig(anchors=AnchorConfig(sizes=(32, 64), ratios=(1.0,))),
)


def _annotations(sides: list[int]) -> Annotations:
    """Return square boxes in a 400-pixel image, which the network sees at 200 pixels, half their size."""
    number = len(sides)
    return assemble(
        source="a.json",
        images_dir=Path(),
        categories=(Category(id=1, name="nut"),),
        image_ids=np.array([1]),
        image_sizes=np.array([[400, 400]]),
        file_names=["a"],
        box_images=np.zeros(number, np.int64),
        boxes=np.array([[0, 0, side, side] for side in sides], float),
        areas=np.ones(number),
        labels=np.ones(number, np.int64),
        ignore=np.zeros(number, np.bool_),
        ids=np.arange(number),
    )


def test_boxes_that_anchors_reach_are_not_reported():
    assert anchor_notes(_annotations([64] * 4 + [20]), CONFIG) == []  # four of five boxes are covered: enough


def test_boxes_that_no_anchor_reaches_are_reported_with_what_would_fit():
    # sizes in the network's input: 32 fits; 24 has IoU .56; 10 and 10 have .1
    (line,) = anchor_notes(_annotations([64, 48, 20, 20]), CONFIG)
    assert "75 % of them have no anchor of IoU 0.7, 50 % none of IoU 0.5" in line
    assert "train auto" in line
    words = line.split()
    start, end = words.index("--options.anchor-sizes"), words.index("--options.anchor-ratios")
    sizes = [int(word) for word in words[start + 1 : end]]
    ratios = [float(word) for word in words[end + 1 : words.index("%", end) - 1]]
    share = coverage(np.array([[32, 32], [24, 24], [10, 10], [10, 10]], float), sizes, ratios)
    assert f"{100 * share:.0f} % have one of 0.5" in line
    assert share > 0.5


def test_boxes_too_small_for_any_anchor_call_for_larger_images():
    (line,) = anchor_notes(_annotations([2, 8, 14, 64]), CONFIG)  # 1, 4, 7 and 32 pixels
    assert line == (
        "half of the boxes are smaller than 5.5 pixels in resized images, too small for anchors; raise "
        "--options.min-size and --options.max-size, or train on tiles"
    )


def test_where_no_anchors_fit_better_the_line_says_so():
    """Half of the boxes are covered by every set of anchors; the others are far from any that is tried."""
    (line,) = anchor_notes(_annotations([64, 2]), CONFIG)
    assert line.endswith("no others fit better; `cascade-rcnn look` shows these boxes")
