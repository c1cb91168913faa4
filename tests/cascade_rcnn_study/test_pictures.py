"""The drawing of Figure 1 (a, b)."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from cascade_rcnn.pages import data_uri
from cascade_rcnn_study.pictures import QUALITIES, colour, plot_outputs


@pytest.mark.parametrize(("iou", "k"), [(1.0, 0), (0.75, 0), (0.74, 1), (0.5, 1), (0.49, 2), (0.0, 2)])
def test_a_box_has_the_colour_of_its_quality(iou, k):
    assert colour(iou) == QUALITIES[k][1]


def test_likely_boxes_are_drawn_in_their_place():
    output = {
        "size": [40, 20],
        "picture": data_uri(np.zeros((20, 40, 3), np.uint8)),
        "truth": [[1, 2, 11, 12]],
        "boxes": [[1, 2, 11, 10], [20, 5, 30, 15], [0, 0, 5, 5]],
        "scores": [0.9, 0.6, 0.4],  # the last score is below the threshold
        "ious": [0.8, 0.0, 0.0],
    }
    figure = plot_outputs({"(a)": [output, output], "(b)": [output, output]})
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["(a)", "", "(b)", ""]
    for axis in figure.axes:
        boxes = [(*r.get_xy(), r.get_width(), r.get_height(), to_hex(r.get_edgecolor())) for r in axis.patches]
        assert boxes == [
            (1, 2, 10, 10, "#ffffff"),
            (20, 5, 10, 10, QUALITIES[2][1]),  # the highest score is drawn last, on top
            (1, 2, 10, 8, QUALITIES[0][1]),
        ]
        assert [text.get_text() for text in axis.texts] == ["0.60", "0.90"]
