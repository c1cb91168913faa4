"""Quickstart: detect people with the starter, then fine-tune it on blood cells, within minutes on a CPU.

It requires neither a network nor data: the starter, a photo and a dataset of blood cells are part of the package.
"""

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import PIL.Image
import torch

from cascade_rcnn.api.train import train
from cascade_rcnn.assets import CELLS, PHOTO
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.targets import Target
from cascade_rcnn.drawing import draw, side_by_side
from cascade_rcnn.engine.evaluate import run_predictor
from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.engine.predictor import Predictor
from cascade_rcnn.engine.training.state import holds_state
from cascade_rcnn.evaluation.matches import match
from cascade_rcnn.evaluation.metrics import Metrics
from cascade_rcnn.files import read_json, replacing
from cascade_rcnn.images.tensors import read_image
from cascade_rcnn.passes.interface import to_numpy
from cascade_rcnn.recipes import RECIPES
from cascade_rcnn.reporting.thresholds import best
from cascade_rcnn.results import to_supervision

if TYPE_CHECKING:
    import supervision

_PEOPLE = 0.8  # minimum score of people shown
_PICTURES = 12  # of cells
_HEIGHT = 480  # of pictures, in pixels


def run(output: Path) -> Metrics:
    """Detect people in a photo, fine-tune on blood cells, draw detections and return the metrics on held-out images.

    Calling it again resumes an interrupted run.
    """
    started = time.monotonic()
    people = _find_people(output)
    print(f"1/3  people detected by the starter, after {time.monotonic() - started:.0f} s: {output / 'people.jpg'}")
    recipe = RECIPES["quickstart"]()
    print(f"2/3  fine-tuning on blood cells for {recipe.epochs} epochs")
    try:
        data = {"train": str(CELLS / "train.json"), "val": str(CELLS / "val.json")}
        result = train(recipe, data=data, output=output, resume=holds_state(output))
    except Interrupted:
        raise Interrupted("stopped and saved; run the same command to continue") from None
    cells = _draw_cells(output, load_annotations(CELLS / "val.json"))
    _save(side_by_side([people, cells], _CAPTIONS, _HEIGHT), output / "overview.jpg")
    print(f"3/3  detections and ground truth side by side: {output / 'cells'}")
    print(f"     overview: {output / 'overview.jpg'}\n     learning curve: {result.plot()}")
    best = read_json(output / "best.json")
    places = {"output": output, "cells": _short(CELLS), "photo": _short(PHOTO)}
    print(_NEXT.format(command=_command(), **places, epoch=best.pop("epoch")))
    return Metrics.from_dict(best)


def _find_people(output: Path) -> PIL.Image.Image:
    predictor = Predictor("starter", device="cpu")
    image = read_image(PHOTO)
    picture = draw(image.permute(1, 2, 0).numpy(), predictor(image, threshold=_PEOPLE))
    _save(picture, output / "people.jpg")
    return picture


def _draw_cells(output: Path, truth: Annotations) -> PIL.Image.Image:
    """Draw detections next to the ground truth on held-out images, and return the picture with the most detections.

    After only a few minutes of training, typical scores differ between classes, so each has its own threshold, the
    one that reports recommend.
    """
    predictor = Predictor(output / "best.safetensors", device="cpu")
    matches, names = match(truth, run_predictor(predictor, truth, 4, 0).rows), truth.class_names
    chosen = [best(matches, label) for label in range(1, len(names) + 1)]
    least = np.array([1.0 if one is None else one.threshold for one in chosen])
    most, picture = -1, None
    dataset = Dataset(truth)
    for i in range(min(_PICTURES, len(dataset))):
        image, target = dataset[i]
        found = predictor(image, threshold=float(least.min()))
        shown = cast("supervision.Detections", found[found.confidence >= least[found.class_id]])
        pixels = image.permute(1, 2, 0).numpy()
        left = draw(pixels, shown)
        right = draw(pixels, _without_scores(target, names))
        _save(side_by_side([left, right], ["predicted", "annotated"], _HEIGHT), output / "cells" / truth.path(i).name)
        if len(shown) > most:
            most, picture = len(shown), left
    assert picture is not None
    return picture


def _without_scores(target: Target, names: list[str]) -> "supervision.Detections":
    shown = {name: target[name] for name in ("boxes", "labels")}
    found = to_numpy(shown | {"scores": torch.ones(len(target["labels"]))})
    return replace(to_supervision(found, names, 0.0), confidence=None)


def _save(picture: PIL.Image.Image, path: Path) -> None:
    with replacing(path) as aside:
        picture.save(aside, format="JPEG", quality=90)


def _short(path: Path) -> Path:
    """Return the path relative to the working directory, if it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _command() -> str:
    """Return the command that runs the command-line interface in this environment."""
    here = Path(sys.argv[0])
    if here.name != "cascade-rcnn":
        return f"{Path(sys.executable)} -m cascade_rcnn"
    return here.name if shutil.which(here.name) == str(here) else str(here)


_CAPTIONS = ("people, detected by the starter", "blood cells, after fine-tuning")
_NEXT = """
next steps:
  {command} predict --checkpoint starter --output found {photo}
  {command} evaluate --checkpoint {output}/best.safetensors --annotations {cells}/val.json
  {command} train small --init starter --data.train {cells}/train.json --data.val {cells}/val.json
The same commands accept your own images and annotations (COCO, PASCAL VOC, YOLO).
Metrics on the held-out images, after epoch {epoch}:"""
