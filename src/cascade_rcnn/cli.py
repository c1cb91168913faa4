"""The command line: `cascade-rcnn COMMAND ...`; the commands are in `commands`, one per file."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from cascade_rcnn.commands.app import app
from cascade_rcnn.commands.convert import convert
from cascade_rcnn.commands.doctor import doctor
from cascade_rcnn.commands.evaluate import evaluate
from cascade_rcnn.commands.export import export
from cascade_rcnn.commands.look import look
from cascade_rcnn.commands.parameters import call
from cascade_rcnn.commands.predict import predict
from cascade_rcnn.commands.quickstart import quickstart
from cascade_rcnn.commands.report import report
from cascade_rcnn.commands.serve import serve
from cascade_rcnn.commands.shapes import shapes
from cascade_rcnn.commands.split import split
from cascade_rcnn.commands.statistics import statistics
from cascade_rcnn.commands.streams import lasting_streams
from cascade_rcnn.commands.study import study
from cascade_rcnn.commands.train import train
from cascade_rcnn.commands.weights import weights
from cascade_rcnn.engine.interrupt import Interrupted, ending_cleanly
from cascade_rcnn.errors import UsageError, UserError, is_out_of_memory, nearest, reason
from cascade_rcnn.text import printable

_VERBS: dict[str, Callable[..., None]] = {
    verb.__name__: verb
    for verb in (
        *(look, split, train, evaluate, report, statistics, predict, app, serve),
        *(weights, convert, export, study, shapes, quickstart, doctor),
    )
}

_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_PROCID")  # read by Lightning and torchmetrics
_NARROWEST = 40  # columns; tyro hangs on narrower terminals


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `cascade-rcnn COMMAND ...`. A user error ends with one line on stderr and exit code 1."""
    try:
        with lasting_streams():
            _main(sys.argv[1:] if arguments is None else arguments)
    except OSError as error:  # others are caught in _main
        _fail(f"stdout: cannot be written ({error.strerror}); free some space, or redirect it elsewhere", 1)


def _main(arguments: Sequence[str]) -> None:
    _prepare()
    if not arguments or arguments[0] in ("-h", "--help"):
        _usage()
        return
    if arguments[0] == "--version":
        from cascade_rcnn import __version__

        print(__version__)
        return
    if "--offline" in arguments:
        for library in ("CASCADE_RCNN", "HF_HUB"):  # timm downloads through the Hub; child processes inherit both
            os.environ[f"{library}_OFFLINE"] = "1"
        arguments = [argument for argument in arguments if argument != "--offline"]
    try:
        with ending_cleanly():
            _run(arguments[0], arguments[1:])
    except UserError as error:
        _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except OSError as error:  # such as a name that is too long
        _fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error), 1)
    except Interrupted as stop:
        print(printable(str(stop)))
        sys.exit(130)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except (MemoryError, RuntimeError, ValueError) as error:
        if (known := _explained(error, arguments[0])) is None:
            raise
        _fail(known, 1)


def _prepare() -> None:
    """Reject or repair an environment in which libraries would crash or hang."""
    try:
        Path.cwd()
    except FileNotFoundError:
        _fail("the current folder does not exist any more; change to another one (`cd`)", 1)
    if shutil.get_terminal_size().columns < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)


def _explained(error: MemoryError | RuntimeError | ValueError, command: str) -> str | None:
    """Return one line on errors of libraries that are not about the command itself; None for any other."""
    text = reason(error)
    if isinstance(error, ValueError):
        if not text.startswith("invalid literal for int()"):
            return None
        wrong = next((name for name in _RANKS if not os.environ.get(name, "0").isdecimal()), None)
        return wrong and f"{wrong} is '{os.environ[wrong]}' in the environment; set it to a number, or unset it"
    if "torchvision::" in text:  # mismatched builds: torchvision cannot even be imported
        return f"torchvision does not match this version of torch ({text}); run `cascade-rcnn doctor` for the fix"
    if is_out_of_memory(error):
        advice = "use smaller images, a lower --batch-size or fewer --workers"
        advice = "give a smaller --size" if command == "export" else advice
        return f"out of memory ({text[:120]}); {advice}"
    return None


def _run(name: str, arguments: Sequence[str]) -> None:
    if name not in _VERBS:
        raise UsageError(f"there is no command '{name}'{nearest(name, list(_VERBS))}; known: {', '.join(_VERBS)}")
    _check_no_empty(arguments)
    if name in ("train", "study"):  # these parse their own first arguments
        _VERBS[name](arguments)
    else:
        call(_VERBS[name], f"cascade-rcnn {name}", arguments)


def _check_no_empty(arguments: Sequence[str]) -> None:
    """Raise UserError for an empty argument, which as a path would mean the current folder.

    In a recipe's data, it means none: `--data.val ""` trains without the recipe's validation set.
    """
    before = ""
    for argument in arguments:
        flag, equals, value = argument.partition("=") if argument.startswith("--") else (before, "=", argument)
        if equals and not value and not flag.startswith("--data."):
            where = f"{flag or 'the first argument'}: the value is empty, like that of an unset variable"
            raise UserError(f"{where}; as a path, write . for the current folder")
        before = argument


def _usage() -> None:
    print("usage: cascade-rcnn COMMAND ...   (COMMAND --help for its flags; --offline: download nothing)\n\ncommands:")
    for name, verb in _VERBS.items():
        print(f"  {name:12} {(verb.__doc__ or '').splitlines()[0]}")


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(code)
