"""Templates for self-contained HTML pages, with a common layout, style sheet and macros."""

from cascade_rcnn.pages.page import Picture, data_uri, render

__all__ = ["Picture", "data_uri", "render"]
