"""Kill training, prediction and export at random moments and around each rename.

A command is restarted until it ends by itself; its output must then be the same as that of an undisturbed command.
"""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image

from benchmarks.torture import training_runs
from benchmarks.torture.checkpoints import tiny_detector
from benchmarks.torture.commands import Commands, Disturbance, Done
from benchmarks.torture.mutations import Random, one
from benchmarks.torture.outcomes import Outcome, Tally, Verdict
from cascade_rcnn.data.shapes import draw
from cascade_rcnn.engine.checkpoint import save
from cascade_rcnn.errors import UserError

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_MOST_STARTS = 60

Command = Callable[[Path], list[str]]  # the command line that writes to this folder, or resumes there
Check = Callable[[Path], str | None]


class Killing:
    """A command that is killed again and again."""

    def __init__(self, commands: Commands, folder: Path, name: str, command: Command, whole: Check) -> None:
        """`whole` says what is broken in the folder, and is called after every kill."""
        self.commands, self.folder, self.name, self.command, self.whole = commands, folder, name, command, whole
        self.tally = Tally(f"kills: {name}")
        self.reference = folder / "undisturbed"
        self.undisturbed = self._start(self.reference, Disturbance())
        if self.undisturbed.code:
            raise SystemExit(f"{name} fails even undisturbed: {self.undisturbed.error}")

    def _start(self, output: Path, disturbance: Disturbance) -> Done:
        return self.commands.run(*self.command(output), disturbance=disturbance)

    def around_renames(self, names: list[str], same: Check) -> None:
        """Kill before and after the renaming to each of these names, once per start."""
        pending = {(name, when) for name in names for when in ("before", "after")}
        for chain in range(3):  # renames that one chain did not reach may occur in the next
            output = self.folder / f"renames{chain}"
            while True:
                done = self._start(output, Disturbance(renames=tuple(sorted(pending))))
                mark = self.commands.mark
                if done.code != -signal.SIGKILL or mark is None:
                    break
                pending.discard(mark)
                self._alive(f"killed {mark[1]} the renaming to {mark[0]}", output)
            self._ended(f"around renames, chain {chain}", output, done, same)
            if not pending:
                return
        self.tally.skipped += [
            f"no kill {when} the renaming to {name}, which never happened" for name, when in sorted(pending)
        ]

    def at_random(self, number: int, random: Random, same: Check, *, a_chain: int = 10) -> None:
        """Send `number` signals at random moments, at most `a_chain` of them during one run."""
        left, chain = number, 0
        while left > 0 and chain < number:
            output, chain, kills = self.folder / f"random{chain}", chain + 1, min(left, a_chain)
            done = None
            for _ in range(_MOST_STARTS):
                moment, sent = self.undisturbed.seconds * random.random(), int(one(random, _SIGNALS))
                disturbance = Disturbance(seconds=moment, signal=sent) if kills > 0 else Disturbance()
                done = self._start(output, disturbance)
                if done.code == 0:
                    break
                kills, left = kills - 1, left - 1
                self._stopped(f"signal {sent} after {moment:.2f} s", output, done)
            assert done is not None
            self._ended(f"at random, chain {chain}", output, done, same)

    def _stopped(self, case: str, output: Path, done: Done) -> None:
        if "Traceback" in done.error:
            self.tally.add(Verdict(case, Outcome.TRACEBACK, done.error[-600:]))
        else:
            self._alive(case, output)

    def _alive(self, case: str, output: Path) -> None:
        broken = self.whole(output) if output.exists() else None
        self.tally.add(Verdict(case, Outcome.WRONG, broken) if broken else Verdict(case, Outcome.RIGHT))

    def _ended(self, case: str, output: Path, done: Done, same: Check) -> None:
        if done.code:
            self.tally.add(Verdict(case, Outcome.TRACEBACK, f"ends with {done.code}: {done.error[-600:]}"))
        elif wrong := same(output):
            self.tally.add(Verdict(f"{case}, at its end", Outcome.WRONG, wrong))
        else:
            self.tally.add(Verdict(f"{case}, at its end", Outcome.RIGHT))


def kill_train(commands: Commands, folder: Path, data: Path, number: int, random: Random) -> Tally:
    """Kill training; weights, optimizer, metrics and curves must be bit-identical to those of an undisturbed run."""

    def command(output: Path) -> list[str]:
        return training_runs.training(data, output, *training_runs.resumable(output))

    killing = Killing(commands, folder, "train", command, training_runs.broken_files)

    def same(output: Path) -> str | None:
        return training_runs.difference(killing.reference, output)

    files = ["last.safetensors", "best.safetensors", "last.state.pt", "previous.state.pt", "best.json"]
    killing.around_renames([*files, "recipe.json", "train.csv", "evaluation.csv", "results.json", "curve.png"], same)
    killing.at_random(number, random, same)
    return killing.tally


def kill_predict(commands: Commands, folder: Path, number: int, random: Random) -> Tally:
    """Kill prediction on a folder; detections and pictures must be the same."""
    images, model = folder / "images", folder / "model.safetensors"
    write_pictures(images, 24)
    save(tiny_detector(), model)

    def command(output: Path) -> list[str]:
        return ["predict", str(images), "--checkpoint", str(model), "--output", str(output), "--threshold", "0.1"]

    killing = Killing(commands, folder, "predict", command, broken_results)

    def same(output: Path) -> str | None:
        return results_differ(killing.reference, output)

    killing.around_renames(["detections.json", "000.png", "011.png"], same)
    killing.at_random(number, random, same, a_chain=4)
    return killing.tally


def write_pictures(folder: Path, number: int) -> None:
    """Write images to predict on."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        PIL.Image.fromarray(draw("val", i, size=(64, 64), seed=1).pixels).save(folder / f"{i:03}.png")


def broken_results(output: Path) -> str | None:
    """Return an error about an existing result that cannot be read; None if all can."""
    try:
        if (output / "detections.json").exists():
            json.loads((output / "detections.json").read_text())
        for path in output.rglob("*.png"):
            PIL.Image.open(path).load()
    except (ValueError, OSError) as error:
        return f"after a kill: {path_of(error)}"
    return None


def path_of(error: Exception) -> str:
    """Format an error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def results_differ(reference: Path, output: Path) -> str | None:
    """Describe how detections, pictures or files differ from those of an undisturbed run; None if they do not."""
    detections = [
        sorted(json.loads((folder / "detections.json").read_text()), key=json.dumps) for folder in (reference, output)
    ]
    if detections[0] != detections[1]:
        return f"the detections differ: {len(detections[1])}, {len(detections[0])} undisturbed"
    files = [{str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} for folder in (reference, output)]
    if files[0] != files[1]:
        return f"different files: {', '.join(sorted(files[0] ^ files[1])[:3])}"
    pictures = (
        [np.asarray(PIL.Image.open(folder / name)) for folder in (reference, output)]
        for name in sorted(files[0])
        if name.endswith(".png")
    )
    return None if all(np.array_equal(a, b) for a, b in pictures) else "a picture differs"


def kill_export(commands: Commands, folder: Path, number: int, random: Random) -> Tally:
    """Kill export; there must be no file or one that loads, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.safetensors"
    save(tiny_detector(), model)

    def command(output: Path) -> list[str]:
        return ["export", str(model), "--format", "onnx", "--dynamic", "--output", str(output / "model.onnx")]

    def whole(output: Path) -> str | None:
        if not (output / "model.onnx").exists():
            return None
        from cascade_rcnn.runtime import Runtime

        try:
            Runtime(output / "model.onnx")
        except (UserError, OSError) as error:
            return f"after a kill: {path_of(error)}"
        return None

    def same(output: Path) -> str | None:
        left = sorted(p.name for p in output.iterdir() if p.name not in ("model.onnx", "model.json"))
        return f"{', '.join(left)} was left behind" if left else whole(output)

    killing = Killing(commands, folder, "export", command, whole)
    killing.around_renames(["model.onnx"], same)
    killing.at_random(number, random, same, a_chain=3)
    return killing.tally
