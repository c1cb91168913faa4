"""Get the checkpoint of a published detector by name: download it on first use, convert and cache it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn.hub import huggingface
from cascade_rcnn.hub.cache import OFFLINE, alone, cache_folder, is_offline
from cascade_rcnn.hub.download import RejectedError, Report, UnreachableError, download, matches
from cascade_rcnn.hub.peers import config_file, outcome
from cascade_rcnn.hub.table import Published, published, table
from cascade_rcnn.interop.convert import convert_checkpoint
from cascade_rcnn.models.checkpoint import save
from cascade_rcnn.text import printable

Say: TypeAlias = Callable[[str], None]


def say(line: str) -> None:
    """Print a note to stderr, as the command line does."""
    print(f"note: {printable(line)}", file=sys.stderr, flush=True)


def resolve(name: str) -> Path:
    """Return the file of a published detector or `hf://owner/name`, downloaded on first use.

    Raises UserError for other names, or if the file cannot be downloaded.
    """
    if huggingface.is_address(name):
        return huggingface.fetch(name)
    if name in published():
        return fetch(published()[name])
    path = Path(name)
    if path.is_dir():
        inside = [str(one) for one in sorted(path.glob("*.safetensors"))]  # of a run, the best comes first
        raise UserError(f"{name}: is a folder; give a checkpoint" + (f", such as {inside[0]}" if inside else ""))
    if path.name == "best.safetensors" and (last := path.parent / "last.safetensors").is_file():
        raise UserError(f"{name}: no such checkpoint; the run has not evaluated a model yet; give {last}")
    hint = (
        nearest(name, list(published())) or "; check the path, or give 'starter' or a name from `cascade-rcnn weights`"
    )
    raise UserError(f"{name}: no such checkpoint{hint}")


def place(row: Published) -> Path:
    """Return the cached file of a converted detector."""
    return cache_folder() / "weights" / str(table().conversion) / f"{row.name}.safetensors"


def fetch(row: Published, say: Say = say) -> Path:
    """Download and convert a published detector; report its licence and conversion notes on first use.

    Raises UserError if it cannot be converted or downloaded.
    """
    kept = place(row)
    if kept.is_file():
        return kept
    found = outcome(row)
    if found.part == "none":
        raise UserError(f"{row.name} cannot be converted: {found.reason}; `cascade-rcnn weights` lists those that can")
    with alone(kept, say):
        if not kept.is_file():  # another process may have created it meanwhile
            original = _original(row, say)
            say(f"{row.name}: licence of the weights: {row.source.licence}; see {row.source.page}")
            _convert(row, original, kept, say)
            with suppress(OSError):
                original.unlink()
    return kept


def _original(row: Published, say: Say) -> Path:
    """Return the publisher's file, which the user may have provided; download it otherwise."""
    file = cache_folder() / "originals" / row.file
    if file.is_file():
        if row.digest is not None and not matches(file, row.digest):
            raise UserError(
                f"{file}: its {row.digest[0]} does not begin with {row.digest[1]}, so it is damaged; download it again "
                f"from {row.url}, or delete it"
            )
        return file
    by_hand = f"by other means and put it into {file.parent} under the same name"
    if is_offline():
        raise UserError(f"{row.name} is not cached, and --offline or {OFFLINE} is set: download {row.url} {by_hand}")
    say(f"fetching {row.url}")
    try:
        with _progress(row.file) as report:
            download(row.url, file, row.digest, report=report)
    except UnreachableError as error:
        raise UserError(f"{error}; download it {by_hand}, then use --offline") from None
    except RejectedError as error:
        raise UserError(
            f"{error} as its name says; to use it anyway: cascade-rcnn convert --from {row.source.origin}"
        ) from None
    return file


def _convert(row: Published, original: Path, kept: Path, say: Say) -> None:
    with config_file(row) as config:
        model, notes = convert_checkpoint(original, row.source.origin, config)
    for note in notes:
        say(f"{row.name}: {note}")
    save(model, kept)


@contextmanager
def _progress(name: str) -> Iterator[Report]:
    """Show download progress on stderr if it is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(printable(name), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
