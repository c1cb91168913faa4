"""A detection service on LitServe (extra `serve`): images in, COCO JSON out."""

from cascade_rcnn.serving.api import DetectionAPI
from cascade_rcnn.serving.server import make_server, serve

__all__ = ["DetectionAPI", "make_server", "serve"]
