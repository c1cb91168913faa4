"""The drawing of Figure 3."""

from matplotlib.patches import FancyBboxPatch

from cascade_rcnn_study.architectures import architectures
from cascade_rcnn_study.diagrams import plot_architectures


def test_every_part_is_drawn_inside_its_panel_and_covers_no_other():
    panels = architectures()
    figure = plot_architectures(panels)
    for axis, panel in zip(figure.axes, panels, strict=True):
        boxes = [patch for patch in axis.patches if isinstance(patch, FancyBboxPatch)]
        parts = sum(len(column.classifiers) + 2 for column in panel.columns)
        assert len(boxes) == 2 + parts + len(panel.columns) - 1  # the image and the features; heads; pooling
        (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
        extents = [(b.get_x(), b.get_x() + b.get_width(), b.get_y(), b.get_y() + b.get_height()) for b in boxes]
        assert all(left <= x0 and x1 <= right and bottom <= y0 and y1 <= top for x0, x1, y0, y1 in extents)
        for k, (x0, x1, y0, y1) in enumerate(extents):
            assert not any(x0 < b and a < x1 and y0 < d and c < y1 for a, b, c, d in extents[k + 1 :])


def test_classifiers_are_drawn_with_their_u():
    integral = plot_architectures(architectures()).axes[2]
    texts = {text.get_text() for text in integral.texts}
    assert {"C1\nu = 0.5", "C2\nu = 0.6", "C3\nu = 0.7"} <= texts
