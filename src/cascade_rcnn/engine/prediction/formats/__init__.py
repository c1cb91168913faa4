"""Detections in the formats of other tools."""

from cascade_rcnn.engine.prediction.formats.write import Format, all_formats, check_formats, check_names, write_formats

__all__ = ["Format", "all_formats", "check_formats", "check_names", "write_formats"]
