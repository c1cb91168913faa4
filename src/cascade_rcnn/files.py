"""Files are written aside and renamed, so that no reader ever meets half of one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cascade_rcnn.errors import UserError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes `path` when the block succeeds and vanishes when it fails.

    The folder is made if need be. Raises UserError when nothing can be written there.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.touch()
        mode = aside.stat().st_mode  # what the user's umask allows; some writers are stricter
        yield aside
        aside.chmod(mode)
        aside.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another output") from None
    finally:
        if aside.is_file():
            aside.unlink()


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    with replacing(path) as aside:
        aside.write_text(json.dumps(value, indent=1) + "\n")


def read_json(path: str | Path) -> Any:
    """The value in a JSON file. Raises UserError when it is missing or no JSON."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a JSON file ({error})") from None
