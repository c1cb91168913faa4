"""Self-contained HTML pages: one shell of styles, tables, cards and pictures for all that is shown in a browser."""

from cascade_rcnn.pages.page import data_uri, render

__all__ = ["data_uri", "render"]
