"""Read the files of runs, which may have been copied only in part, edited, or written by another version."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypedDict

import msgspec

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json

# What the tables and figures use of each file, which may contain more.


class Localization(TypedDict):
    """localization.json."""

    count: list[int]
    mean: list[list[float | None]]


class _Stage(TypedDict):
    u: float
    samples: int
    histogram: list[int]
    percent_above: dict[str, float | None]
    mean: list[float] | None
    std: list[float] | None
    scatter: list[tuple[float, float, float, float]]
    scatter_is_outlier: list[bool]


class Samples(TypedDict):
    """samples.json."""

    images: int
    edges: list[float]
    stages: list[_Stage]


class Speed(TypedDict):
    """speed.json."""

    training_seconds_per_image: float
    test_seconds_per_image: float


_Pixels: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class Output(TypedDict):
    """An image in outputs.json."""

    image: str
    size: tuple[_Pixels, _Pixels]
    picture: str
    truth: list[tuple[float, float, float, float]]
    boxes: list[tuple[float, float, float, float]]
    scores: list[float]
    ious: list[float]


class _Data(TypedDict):
    name: str
    id: str
    images: int
    boxes: int
    classes: int


class _BothData(TypedDict):
    train: _Data
    val: _Data


class _Settings(TypedDict):
    model: str
    options: dict[str, Any]
    optimizer: dict[str, Any]
    pretrained: bool
    epochs: int
    batch_size: int
    accumulate: int


class Training(TypedDict):
    """training.json."""

    name: str
    seed: int
    settings: _Settings
    data: _BothData
    title: str
    model: str
    size_mib: float
    updates: int
    training_seconds: float
    precision: str
    machine: dict[str, str | int]


def read_file(path: Path, shape: Any = Any) -> Any:
    """Read a JSON file. Raises UserError if it is damaged, or lacks what its shape, one of the above, has."""
    try:
        value = read_json(path)
        msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise damaged(path, str(error)) from None
    except UserError as error:
        raise damaged(path, str(error).removeprefix(f"{path}: ")) from None
    return value


def damaged(path: Path, reason: str) -> UserError:
    """Return the error for a file of a run that cannot be used."""
    return UserError(f"{path}: not readable ({reason}); copy it again, or delete it and rerun the study")
