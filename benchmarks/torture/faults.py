"""Disks, folders, files and processes that fail under a running command.

Each scenario disturbs a command and expects one line and exit code 1. It then repairs what it broke, and expects the
resumed training run to end like an undisturbed one.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.torture import training_runs
from benchmarks.torture.checkpoints import tiny_detector
from benchmarks.torture.commands import Commands, Disturbance, Done
from benchmarks.torture.kills import results_differ, write_pictures
from benchmarks.torture.outcomes import Outcome, Tally, Verdict
from cascade_rcnn.engine.checkpoint import save

_STEP = 8  # in the second epoch, when the state after the sixth update is on disk


class Faults:
    """The scenarios, their data, and an undisturbed training run to compare with."""

    def __init__(self, commands: Commands, folder: Path, data: Path) -> None:
        self.commands, self.folder, self.data = commands, folder, data
        self.tally = Tally("faults")
        self.reference = folder / "undisturbed"
        done = self._train(self.reference)
        if done.code:
            raise SystemExit(f"training fails even undisturbed: {done.error}")

    def run(self) -> Tally:
        """Run all scenarios, one after the other."""
        scenarios: tuple[Callable[[], None], ...] = (
            *(self.full_disk, self.removed_folder, self.read_only_folder, self.removed_image, self.image_cut_off),
            *(self.removed_validation_image, self.killed_worker, self.killed_rank, self.loss_not_finite),
            *(self.two_runs_in_a_folder, self.other_data, self.moved_data, self.predict_on_a_full_disk),
            *(self.readers_gone, self.log_on_a_full_disk),
        )
        for scenario in scenarios:
            name = scenario.__name__.replace("_", " ")
            try:
                scenario()
            except TimeoutError as error:
                self.tally.add(Verdict(name, Outcome.HANG, str(error)))
        return self.tally

    # -- building blocks of the scenarios ------------------------------------------------------------------------

    def _train(
        self, output: Path, *more: str, data: Path | None = None, disturbance: Disturbance | None = None
    ) -> Done:
        command = training_runs.training(data or self.data, output, *training_runs.resumable(output), *more)
        return self.commands.run(*command, disturbance=disturbance)

    def _refused(self, case: str, done: Done) -> None:
        """Check that the command ended with exit code 1 and one line."""
        lines = done.lines
        if done.code == 1 and len(lines) == 1 and lines[0].startswith("error: "):
            self.tally.add(Verdict(case, Outcome.REFUSED, lines[0]))
        elif done.code == 0:
            self.tally.add(Verdict(case, Outcome.WRONG, "the command continued as if nothing had happened"))
        else:
            self.tally.add(
                Verdict(case, Outcome.TRACEBACK, f"exit code {done.code}, {len(lines)} lines: {done.error[-600:]}")
            )

    def _recovers(self, case: str, output: Path, *more: str, data: Path | None = None) -> None:
        """Check that the resumed run ends like the undisturbed one."""
        done = self._train(output, *more, data=data)
        if done.code:
            self.tally.add(
                Verdict(f"{case}, resumed", Outcome.TRACEBACK, f"exit code {done.code}: {done.error[-600:]}")
            )
        elif wrong := training_runs.difference(self.reference, output):
            self.tally.add(Verdict(f"{case}, resumed", Outcome.WRONG, wrong))
        else:
            self.tally.add(Verdict(f"{case}, resumed", Outcome.RIGHT))

    def _goes_on(self, case: str, done: Done, output: Path, *, code: int = 0) -> None:
        """Check that the run has ended with this exit code, and otherwise like the undisturbed one."""
        wrong = training_runs.difference(self.reference, output) if done.code == code else f"exit code {done.code}"
        self.tally.add(Verdict(case, Outcome.WRONG if wrong else Outcome.RIGHT, wrong or ""))

    def _own_data(self, name: str) -> Path:
        return Path(shutil.copytree(self.data, self.folder / name))

    @contextmanager
    def _disk(self, case: str, kilobytes: int) -> Iterator[Path | None]:
        """Mount a small disk; yield None and record the case as skipped if this user may not mount."""
        place = self.folder / f"disk{time.monotonic_ns()}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "torture", str(place)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            self.tally.skipped.append(f"{case}: mounting a small disk needs root ({done.stderr.decode().strip()})")
            yield None
            return
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)

    # -- the scenarios -------------------------------------------------------------------------------------------

    def full_disk(self) -> None:
        """Fill the disk in the second epoch, then make room again."""
        with self._disk("full disk", 64_000) as disk:
            if disk is None:
                return
            output = disk / "run"
            disturbance = Disturbance(step=_STEP, action=fill, arguments=(disk / "rubbish",))
            self._refused("a full disk", self._train(output, disturbance=disturbance))
            (disk / "rubbish").unlink()
            self._recovers("a full disk", output)

    def removed_folder(self) -> None:
        """Delete the output folder."""
        output = self.folder / "removed"
        disturbance = Disturbance(step=_STEP, action=shutil.rmtree, arguments=(output,))
        self._refused("the output folder removed", self._train(output, disturbance=disturbance))

    def read_only_folder(self) -> None:
        """Make the disk read-only before a run is resumed and before a new one is started."""
        with self._disk("read-only folder", 64_000) as disk:
            if disk is None:
                return
            output = disk / "run"
            self._train(output, disturbance=Disturbance(step=_STEP, action=os.kill, arguments=(0, signal.SIGKILL)))
            remount(disk, "ro")  # possible only while no file is open there
            self._refused("the output folder read-only", self._train(output))
            self._refused("a read-only output folder", self._train(disk / "another"))
            remount(disk, "rw")
            self._recovers("the output folder read-only", output)

    def removed_image(self) -> None:
        """Move the training images away in the middle of an epoch, then restore them."""
        data, output = self._own_data("removed-image"), self.folder / "removed-image-run"
        images = data / "images" / "train"
        disturbance = Disturbance(step=_STEP, action=os.rename, arguments=(images, images.with_name("away")))
        self._refused(
            "images removed in the middle of an epoch", self._train(output, data=data, disturbance=disturbance)
        )
        images.with_name("away").rename(images)
        self._recovers("images removed in the middle of an epoch", output, data=data)

    def image_cut_off(self) -> None:
        """Truncate the training images in the middle of an epoch, then restore them."""
        data, output = self._own_data("cut-image"), self.folder / "cut-image-run"
        disturbance = Disturbance(step=_STEP, action=halve, arguments=(data / "images" / "train",))
        self._refused(
            "images cut off in the middle of an epoch", self._train(output, data=data, disturbance=disturbance)
        )
        shutil.copytree(self.data / "images", data / "images", dirs_exist_ok=True)
        self._recovers("images cut off in the middle of an epoch", output, data=data)

    def removed_validation_image(self) -> None:
        """Move the validation images away during the epoch before they are read; the epoch must not be lost."""
        data, output = self._own_data("removed-val"), self.folder / "removed-val-run"
        images = data / "images" / "val"
        disturbance = Disturbance(step=_STEP, action=os.rename, arguments=(images, images.with_name("away")))
        self._refused("validation images removed", self._train(output, data=data, disturbance=disturbance))
        images.with_name("away").rename(images)
        done = training_runs.load_state(output / "last.state.pt")["position"]["epoch"]
        if done != 2:
            self.tally.add(Verdict("validation images removed", Outcome.WRONG, f"the state is of epoch {done}, not 2"))
        self._recovers("validation images removed", output, data=data)

    def killed_worker(self) -> None:
        """Kill an image decoding process."""
        output = self.folder / "worker"
        disturbance = Disturbance(step=2, action=kill_child)
        done = self._train(output, "--workers", "1", disturbance=disturbance)
        self._refused("a worker killed", done)
        self._recovers("a worker killed", output)

    def killed_rank(self) -> None:
        """Kill one of two training processes."""
        output = self.folder / "rank"
        command = training_runs.training(self.data, output, "--devices", "2", "--epochs", "50")
        with (
            (self.folder / "rank-out").open("w") as out,
            (self.folder / "rank-error").open("w") as error,
            subprocess.Popen(
                [sys.executable, "-m", "cascade_rcnn", *command], stdout=out, stderr=error, start_new_session=True
            ) as first,
        ):
            deadline = time.monotonic() + self.commands.timeout
            while not list(output.glob("*.state.pt")) and first.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
            for rank in children(first.pid):
                os.kill(rank, signal.SIGKILL)
            try:
                code = first.wait(self.commands.timeout)
            except subprocess.TimeoutExpired:
                os.killpg(first.pid, signal.SIGKILL)
                raise TimeoutError("the other process kept waiting") from None
        said = (self.folder / "rank-error").read_text()
        self._refused("a rank killed", Done(code, (self.folder / "rank-out").read_text(), said, 0))

    def loss_not_finite(self) -> None:
        """Train with a learning rate that makes everything overflow."""
        output = self.folder / "infinite"
        done = self._train(output, "--optimizer.lr", "1e30", "--optimizer.name", "sgd", "--optimizer.warmup-steps", "0")
        self._refused("a loss that is not finite", done)

    def two_runs_in_a_folder(self) -> None:
        """Start a second run in the folder of a running one."""
        output = self.folder / "twice"
        again = training_runs.training(self.data, output, "--resume")
        report = self.folder / "second"
        disturbance = Disturbance(step=_STEP, action=start_second, arguments=(again, report))
        first = self._train(output, disturbance=disturbance)
        code, _, error = report.read_text().partition("\n")
        self._refused("a second run in the folder", Done(int(code), "", error, 0))
        self._goes_on("the first of two runs", first, output)

    def other_data(self) -> None:
        """Resume a run after changing its annotations under the same path."""
        data, output = self._own_data("other-data"), self.folder / "other-data-run"
        self._train(
            output,
            data=data,
            disturbance=Disturbance(seconds=None, step=_STEP, action=os.kill, arguments=(0, signal.SIGKILL)),
        )
        path = data / "train.json"
        good = path.read_text()
        for what, old, new in (
            ("two class names swapped", '"ellipse"', '"other"'),
            ("a box moved", '"bbox":[', '"bbox":[1'),
        ):
            assert old in good.replace('": ', '":')
            path.write_text(good.replace('": ', '":').replace(old, new, 1))
            self._refused(f"resumed with {what}", self._train(output, data=data))
        path.write_text(good)
        self._recovers("resumed with the data as it was", output, data=data)

    def moved_data(self) -> None:
        """Resume a run after moving its data and its folder."""
        data, output = self._own_data("here"), self.folder / "here-run"
        self._train(
            output, data=data, disturbance=Disturbance(step=_STEP, action=os.kill, arguments=(0, signal.SIGKILL))
        )
        data, output = data.rename(self.folder / "there"), output.rename(self.folder / "there-run")
        self._recovers("resumed after data and folder have moved", output, data=data)

    def predict_on_a_full_disk(self) -> None:
        """Predict without room for the pictures, then with room."""
        images, model = self.folder / "images", self.folder / "model.safetensors"
        write_pictures(images, 12)
        save(tiny_detector(), model)
        command = ["predict", str(images), "--checkpoint", str(model), "--threshold", "0.1", "--output"]
        self.commands.run(*command, str(self.folder / "found"))
        with self._disk("predict on a full disk", 80) as disk:
            if disk is None:
                return
            self._refused("predict on a full disk", self.commands.run(*command, str(disk / "found")))
            subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
            done = self.commands.run(*command, str(disk / "found"))
            wrong = done.error if done.code else results_differ(self.folder / "found", disk / "found")
            self.tally.add(Verdict("predict, with room again", Outcome.WRONG if wrong else Outcome.RIGHT, wrong or ""))

    def readers_gone(self) -> None:
        """Take away who reads stdout and stderr, as if `tee` were killed."""
        output = self.folder / "unread"
        done = self._train(output, disturbance=Disturbance(step=_STEP, action=lose_readers))
        self._goes_on("nobody reads the output", done, output)

    def log_on_a_full_disk(self) -> None:
        """Send stdout and stderr to a full disk; the output folder has room."""
        output = self.folder / "unlogged"
        done = self._train(output, disturbance=Disturbance(step=_STEP, action=redirect, arguments=("/dev/full", 1, 2)))
        self._goes_on("the log is on a full disk", done, output, code=1)
        output = self.folder / "unlogged-stdout"
        done = self._train(output, disturbance=Disturbance(step=_STEP, action=redirect, arguments=("/dev/full", 1)))
        self._refused("stdout is on a full disk", done)
        self._goes_on("stdout is on a full disk, the run", done, output, code=1)


def fill(path: Path) -> None:
    """Fill the disk with a file."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(2**16)):
                pass
        except OSError:
            pass


def lose_readers() -> None:
    """Connect stdout and stderr to a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    for number in (1, 2):
        os.dup2(writer, number)


def redirect(path: str, *numbers: int) -> None:
    """Redirect file descriptors to a file."""
    descriptor = os.open(path, os.O_WRONLY)
    for number in numbers:
        os.dup2(descriptor, number)


def halve(folder: Path) -> None:
    """Truncate every file to half its size."""
    for path in folder.iterdir():
        os.truncate(path, path.stat().st_size // 2)


def remount(disk: Path, how: str) -> None:
    """Make a disk read-only (ro) or writable (rw)."""
    remounted, read_only = 32, 1  # MS_REMOUNT, MS_RDONLY
    flags = remounted | (read_only if how == "ro" else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"torture", os.fsencode(disk), b"tmpfs", flags, None):
        raise OSError(ctypes.get_errno(), f"remounting {how}")


def children(parent: int) -> list[int]:
    """List the child processes of a process."""
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def kill_child() -> None:
    """Kill the child processes of this process."""
    for child in children(os.getpid()):
        os.kill(child, signal.SIGKILL)


def start_second(arguments: list[str], report: Path) -> None:
    """Run another command while this one waits; write its exit code and stderr to a file."""
    done = subprocess.run(
        [sys.executable, "-m", "cascade_rcnn", *arguments], capture_output=True, text=True, check=False
    )
    report.write_text(f"{done.returncode}\n{done.stderr}")
