"""Detections in the formats of other tools."""

from cascade_rcnn.engine.prediction.formats.write import Format, check_formats, write_formats

__all__ = ["Format", "check_formats", "write_formats"]
