"""Read the files of runs, which may have been copied only in part, or written by another version."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json


def read_file(path: Path, names: Iterable[str] = ()) -> Any:
    """Read a JSON file with these fields. Raises UserError if it is damaged."""
    try:
        value = read_json(path)
    except UserError as error:
        raise damaged(path, str(error).removeprefix(f"{path}: ")) from None
    for name in names:
        if not isinstance(value, dict) or name not in value:
            raise damaged(path, f"no {name}")
    return value


def damaged(path: Path, reason: str) -> UserError:
    """Return the error for a file of a run that cannot be used."""
    return UserError(f"{path}: not readable ({reason}); copy it again, or delete it and rerun the study")
