"""What travels with the package: a small trained detector, a set of blood cells, a photo. README.md says whence."""

from pathlib import Path

_FOLDER = Path(__file__).parent

STARTER = _FOLDER / "starter.safetensors"  # finds people; trained to be fine-tuned
CELLS = _FOLDER / "cells"  # COCO json: train.json, val.json, images/
PHOTO = _FOLDER / "people.jpg"
