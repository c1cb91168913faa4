"""Data files of the package: a small trained detector, a table of published ones, a blood cell dataset and a photo.

See README.md for their origin.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent

STARTER = _FOLDER / "starter.safetensors"  # detects people; intended for fine-tuning
PUBLISHED = _FOLDER / "published.json"  # detectors published by others: URL, AP, licence and settings
CELLS = _FOLDER / "cells"  # COCO json: train.json, val.json, images/
PHOTO = _FOLDER / "people.jpg"
