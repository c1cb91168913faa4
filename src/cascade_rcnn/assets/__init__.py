"""Data files of the package: a small detector, a table of published detectors, a blood cell dataset and a photo.

README.md describes their origin.
"""

from pathlib import Path

__all__ = ["CELLS", "PHOTO", "STARTER"]

_FOLDER = Path(__file__).parent

STARTER = _FOLDER / "starter.safetensors"  # detects people; meant to be fine-tuned
PUBLISHED = _FOLDER / "published.json"  # detectors published elsewhere: addresses, AP, terms and settings
LAZY_CONFIGS = _FOLDER / "lazy_configs.json"  # content of the files on which detectron2's LazyConfigs are based
CELLS = _FOLDER / "cells"  # COCO json: train.json, val.json, images/
PHOTO = _FOLDER / "people.jpg"
