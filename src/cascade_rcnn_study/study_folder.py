"""The files of a study's runs, which are small and contain everything that its tables and figures need.

OUTPUT/runs/NAME-seedS/
    training/               output folder of the training run: checkpoint, state, logs; not needed by reports
    training.json           settings, data, duration, size and machine; written when training ends
    detections/SETTING.npz  detections, and the IoU thresholds at which each is correct
    metrics/SETTING.json    COCO metrics
    localization.json, samples.json, speed.json, outputs.json
    log.txt                 output of the run, if several devices were used

The runs of several machines are combined by copying their folders into one `runs` folder.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from cascade_rcnn.engine.training.state import holds_state
from cascade_rcnn.evaluation import Metrics
from cascade_rcnn.evaluation.matches import Matches
from cascade_rcnn.evaluation.metrics import IOU_THRESHOLDS
from cascade_rcnn.files import write_json
from cascade_rcnn_study.match_files import read_matches
from cascade_rcnn_study.run_files import Localization, Output, Samples, Speed, damaged, read_file

RECORD = "training.json"
_IN_ONE_FILE = ("localization", "samples", "speed", "outputs")
_SHAPES = {
    "localization.json": Localization,
    "samples.json": Samples,
    "speed.json": Speed,
    "outputs.json": list[Output],
}


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run: a variant trained with one seed."""

    path: Path
    name: str
    seed: int

    @property
    def training(self) -> Path:
        """The output folder of the training run."""
        return self.path / "training"

    @property
    def checkpoint(self) -> Path:
        """The model at the end of the schedule; the best one on the validation set would be tuned on that set."""
        return self.training / "last.safetensors"

    @property
    def is_trained(self) -> bool:
        """Whether training has ended."""
        return (self.path / RECORD).is_file()

    @property
    def is_begun(self) -> bool:
        """Whether there is a training run to resume."""
        return holds_state(self.training)

    def has(self, measurement: str) -> bool:
        """Return whether a setting, or `localization`, `samples`, `speed` or `outputs`, has been measured."""
        one = [self.path / f"{measurement}.json"]
        files = one if measurement in _IN_ONE_FILE else [self._metrics(measurement), self.detections(measurement)]
        return all(file.is_file() for file in files)

    def has_samples(self, images: int) -> bool:
        """Return whether the samples of that number of training images, or of all, have been measured."""
        found, record = self.read("samples.json"), self.read(RECORD)
        return found is not None and (
            record is None or found["images"] >= min(images, record["data"]["train"]["images"])
        )

    def read(self, file: str) -> Any | None:
        """Read a JSON file of the run; None if it does not exist. Raises UserError for a damaged one."""
        path = self.path / file
        return read_file(path, _SHAPES.get(file, Any)) if path.is_file() else None

    def write(self, file: str, value: Any) -> None:
        """Write a JSON file of the run."""
        write_json(self.path / file, value)

    def metrics(self, setting: str) -> Metrics | None:
        """Read the COCO metrics of a setting; None if it has not been measured. Raises UserError for damaged ones."""
        path = self._metrics(setting)
        if not path.is_file():
            return None
        try:
            metrics = Metrics.from_dict(read_file(path))
            msgspec.convert(asdict(metrics), Metrics)  # a dataclass does not check its types
        except (KeyError, TypeError, AttributeError):
            raise damaged(path, "not the metrics of a setting") from None
        except msgspec.ValidationError as error:
            raise damaged(path, str(error)) from None
        if len(metrics.precision_by_iou) != len(IOU_THRESHOLDS):
            raise damaged(path, f"precision_by_iou has {len(metrics.precision_by_iou)} values")
        return metrics

    def write_metrics(self, setting: str, metrics: Metrics) -> None:
        """Write the COCO metrics of a setting."""
        write_json(self._metrics(setting), metrics.to_dict())

    def matches(self, setting: str) -> Matches | None:
        """Read the matched detections of a setting; None if it has not been measured."""
        path = self.detections(setting)
        return read_matches(path) if path.is_file() else None

    def detections(self, setting: str) -> Path:
        """Return the file of a setting's detections."""
        return self.path / "detections" / f"{setting}.npz"

    def _metrics(self, setting: str) -> Path:
        return self.path / "metrics" / f"{setting}.json"


class StudyFolder:
    """The runs of a study."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.runs = output / "runs"

    def run(self, name: str, seed: int) -> RunFolder:
        """Return the folder of a run, whether or not it exists."""
        return RunFolder(self.runs / f"{name}-seed{seed}", name, seed)

    def seeds(self, name: str) -> list[int]:
        """List the seeds with which a variant has been trained to the end."""
        found = []
        for path in self.runs.glob(f"{name}-seed*/{RECORD}"):
            seed = path.parent.name.removeprefix(f"{name}-seed")
            if seed.isdecimal() and seed == str(int(seed)):  # a copy named seed00 is not another seed
                found.append(int(seed))
        return sorted(found)

    def of(self, name: str) -> list[RunFolder]:
        """List the trained runs of a variant, by seed."""
        return [self.run(name, seed) for seed in self.seeds(name)]

    def trained(self) -> list[RunFolder]:
        """List all trained runs."""
        names = sorted(path.parent.name.rsplit("-seed", 1)[0] for path in self.runs.glob(f"*-seed*/{RECORD}"))
        return [run for name in dict.fromkeys(names) for run in self.of(name)]
