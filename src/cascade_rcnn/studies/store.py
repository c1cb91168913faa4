"""The files that runs leave behind: small, and all that tables and figures are made from.

OUTPUT/runs/NAME-seedS/
    training/              the engine's folder: checkpoint, logs, state; may be deleted when the rest is there
    training.json          recipe, data, speed and size of the training, machine; written when it ends
    detections/SETTING.npz detections and whether they are right, by image
    metrics/SETTING.json   COCO's figures
    localization.json, samples.json, speed.json

Folders of several machines and days are put together by copying them into one `runs` folder.
"""

import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cascade_rcnn.data import Annotations
from cascade_rcnn.engine.training.state import holds_state
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import Metrics
from cascade_rcnn.evaluation.coco import IOU_THRESHOLDS
from cascade_rcnn.evaluation.matches import Matches, match
from cascade_rcnn.files import read_json, replacing, write_json
from cascade_rcnn.studies.runs import LOCALIZATION, SAMPLES, SPEED, Variant

_BITS = 1 << np.arange(len(IOU_THRESHOLDS), dtype=np.uint16)


@dataclass(frozen=True)
class RunFolder:
    """One training of a variant with a seed."""

    path: Path
    name: str
    seed: int

    @property
    def training(self) -> Path:
        """The engine's folder."""
        return self.path / "training"

    @property
    def checkpoint(self) -> Path:
        """The model at the end of the schedule (not the best on the validation set: that would be tuning on it)."""
        return self.training / "last.safetensors"

    @property
    def is_trained(self) -> bool:
        """Whether the training has ended."""
        return (self.path / "training.json").is_file()

    @property
    def is_begun(self) -> bool:
        """Whether there is a training to resume."""
        return holds_state(self.training)

    def read(self, file: str) -> Any | None:
        """The value in a JSON file of the run; None where it has not been measured."""
        path = self.path / file
        return read_json(path) if path.is_file() else None

    def write(self, file: str, value: Any) -> None:
        """Write a JSON file of the run."""
        write_json(self.path / file, value)

    def metrics(self, setting: str) -> Metrics | None:
        """COCO's figures of a setting, where it has been measured."""
        values = self.read(f"metrics/{setting}.json")
        return None if values is None else Metrics.from_dict(values)

    def matches(self, setting: str) -> Matches | None:
        """A setting's detections and which of them are right, where it has been measured."""
        path = self.path / "detections" / f"{setting}.npz"
        return read_matches(path) if path.is_file() else None

    def missing(self, variant: Variant, asked: Collection[str]) -> list[str]:
        """What has yet to be measured for the tables and figures asked for: names of settings, and of files."""
        wanted = (s.name for s in variant.settings if s.figure is None or s.figure in asked)
        files = {name: [f"metrics/{name}.json", f"detections/{name}.npz"] for name in wanted}
        if not SPEED.isdisjoint(asked):
            files["speed"] = ["speed.json"]
        if variant.localization_steps and not LOCALIZATION.isdisjoint(asked):
            files["localization"] = ["localization.json"]
        if variant.samples and not SAMPLES.isdisjoint(asked):
            files["samples"] = ["samples.json"]
        return [name for name, needed in files.items() if not all((self.path / file).is_file() for file in needed)]


class Store:
    """All runs of a study."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.runs = output / "runs"

    def run(self, name: str, seed: int) -> RunFolder:
        """The folder of a run, whether or not it exists."""
        return RunFolder(self.runs / f"{name}-seed{seed}", name, seed)

    def seeds(self, name: str) -> list[int]:
        """The seeds with which a variant has been trained to the end."""
        found = []
        for path in self.runs.glob(f"{name}-seed*/training.json"):
            seed = path.parent.name.removeprefix(f"{name}-seed")
            if seed.isdecimal():
                found.append(int(seed))
        return sorted(found)

    def trained(self) -> list[RunFolder]:
        """Every run that has ended."""
        names = sorted(path.parent.name.rsplit("-seed", 1)[0] for path in self.runs.glob("*-seed*/training.json"))
        return [self.run(name, seed) for name in dict.fromkeys(names) for seed in self.seeds(name)]


def save_matches(path: Path, truth: Annotations, detections: np.ndarray) -> None:
    """Write what detections (N, 7) are matched to, in 14 bytes each before compression."""
    matches = match(truth, detections)
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez_compressed(
            file,
            image=matches.image.astype(np.uint32),
            label=matches.label.astype(np.uint16),
            score=matches.score.astype(np.float32),
            right=(matches.right @ _BITS).astype(np.uint16),
            wrong=(matches.wrong @ _BITS).astype(np.uint16),
            truth=matches.truth.astype(np.uint16),
            image_ids=truth.image_ids.numpy(),
        )


def read_matches(path: Path) -> Matches:
    """The inverse of `save_matches`. Raises UserError naming a file that is damaged."""
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            right, wrong = (file[name][:, None] & _BITS > 0 for name in ("right", "wrong"))
            image, label, truth = (file[name].astype(np.int64) for name in ("image", "label", "truth"))
            return Matches(image, label, file["score"].astype(np.float64), right, wrong, truth)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not readable ({error}); copy it again, or delete it and run the study") from None
