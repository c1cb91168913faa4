"""Data files of the package: a small trained detector, a table of published ones, a blood cell dataset and a photo.

See README.md for their origin.
"""

from pathlib import Path

__all__ = ["CELLS", "PHOTO", "STARTER"]

_FOLDER = Path(__file__).parent

STARTER = _FOLDER / "starter.safetensors"  # finds people; trained to be fine-tuned
PUBLISHED = _FOLDER / "published.json"  # detectors that others publish: their address, AP, terms and settings
LAZY_CONFIGS = _FOLDER / "lazy_configs.json"  # what the files say that detectron2's LazyConfigs build on
CELLS = _FOLDER / "cells"  # COCO json: train.json, val.json, images/
PHOTO = _FOLDER / "people.jpg"
