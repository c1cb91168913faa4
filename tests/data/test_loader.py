import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
import torch

from cascade_rcnn.data.augmentation.build import build_augmentation, build_transforms
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.loader import make_loader, readable
from cascade_rcnn.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def dataset(make_annotations, write_image, tmp_path) -> Dataset:
    sizes = [(60, 40)] * 5 + [(30, 40)] * 8
    for i, (height, width) in enumerate(sizes):
        write_image(tmp_path / f"{i}.png", width, height)
    return Dataset(make_annotations(sizes, [[(1, 2, 3, 4)] * (i % 3) for i in range(13)]), build_transforms(0.5, 0.5))


def _epoch(loader, epoch: int, skip_batches: int = 0) -> list:
    loader.set_epoch(epoch, skip_batches)
    return list(loader)


def _assert_same(one: list, other: list) -> None:
    assert len(one) == len(other)
    for (images, targets), (other_images, other_targets) in zip(one, other, strict=True):
        assert all(a.equal(b) for a, b in zip(images, other_images, strict=True))
        for target, other_target in zip(targets, other_targets, strict=True):
            assert target.keys() == other_target.keys()
            assert all(target[key].equal(other_target[key]) for key in target)


def test_batches_are_the_same_for_any_number_of_workers_and_after_a_resume(dataset):
    alone = make_loader(dataset, batch_size=4, workers=0, seed=3, shuffle=True)
    together = make_loader(dataset, batch_size=4, workers=2, seed=3, shuffle=True)
    state = torch.get_rng_state()
    expected = [_epoch(alone, epoch) for epoch in (0, 1)]
    assert len(alone) == len(together) == len(expected[0]) == 4
    images, targets = expected[0][0]
    assert isinstance(images, list)
    assert isinstance(targets, list)
    with pytest.raises(AssertionError):
        _assert_same(expected[0], expected[1])
    # Workers persist, so the second epoch's seeds must reach those of the first.
    for epoch in (0, 1):
        _assert_same(_epoch(together, epoch), expected[epoch])
    _assert_same(_epoch(together, 1, skip_batches=2), expected[1][2:])
    assert torch.get_rng_state().equal(state)


def test_no_more_workers_than_batches(dataset):
    assert make_loader(dataset, batch_size=8, workers=10_000, seed=0, shuffle=False).num_workers == 2


def test_an_abandoned_epoch_leaves_nothing_behind(dataset):
    loader = make_loader(dataset, batch_size=4, workers=1, seed=3, shuffle=True)
    expected = _epoch(loader, 0)
    next(iter(loader))
    _assert_same(_epoch(loader, 0), expected)


# Leaves an epoch in the middle, as if torch had failed to end the workers.
LEAVE = """
from cascade_rcnn.data.loader import make_loader
def leave():
    global iterator
    loader = make_loader(dataset, batch_size=2, workers=1, seed=0, shuffle=False)
    batches = iter(loader); next(batches)
    iterator = loader._iterator
    type(iterator)._shutdown_workers = print
"""


@pytest.mark.slow
def test_a_program_that_ends_in_the_middle_of_an_epoch_does_not_wait_for_its_workers(dataset, tmp_path):
    torch.save(dataset, tmp_path / "dataset.pt")
    program = f"import sys, torch\ndataset = torch.load(sys.argv[1], weights_only=False)\n{LEAVE}\nleave()"
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "dataset.pt")], timeout=60, check=True)


def test_nor_does_a_process_that_multiprocessing_started(dataset):
    """Such a process, as a study has them, ends without running the functions of `atexit`."""
    names = {"dataset": dataset}
    exec(LEAVE, names)
    process = multiprocessing.get_context("fork").Process(target=names["leave"])
    process.start()
    process.join(60)
    process.kill()
    assert process.exitcode == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_met_in_a_worker_arrives_as_its_one_line(dataset, tmp_path, one_line, workers):
    (tmp_path / "6.png").write_text("no image")
    loader = make_loader(dataset, batch_size=2, workers=workers, seed=0, shuffle=False)
    batches = iter(loader)
    assert [target["image_id"].item() for _ in range(3) for target in next(batches)[1]] == [
        100,
        101,
        102,
        103,
        104,
        105,
    ]
    with pytest.raises(UserError) as caught:
        next(batches)
    one_line(caught, "6.png", "cannot open")
    assert "Traceback" not in str(caught.value)


def wait_until_idle(pid: int) -> None:
    """Wait until a process has computed nothing for half a second."""
    before, since = None, time.monotonic()
    while time.monotonic() < since + 0.5:
        time.sleep(0.05)
        used = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        if used != before:
            before, since = used, time.monotonic()


def test_a_killed_worker_is_one_line_where_its_batch_is_waited_for(dataset, monkeypatch, one_line):
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    handler, others = signal.getsignal(signal.SIGCHLD), set(multiprocessing.active_children())
    batches = iter(make_loader(dataset, batch_size=1, workers=1, seed=0, shuffle=False))
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - others
    wait_until_idle(worker.pid)  # a process that dies while sending a batch leaves a truncated message
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert signal.getsignal(signal.SIGCHLD) == handler  # otherwise, the next line would raise at an arbitrary place
    with pytest.raises(UserError) as caught:
        list(batches)
    one_line(caught, "a data loading process has died", "--workers")


def test_workers_run_one_thread(dataset, two_threads):
    dataset.transforms = _report_threads
    loader = make_loader(dataset, batch_size=13, workers=1, seed=0, shuffle=False)
    ((_, targets),) = loader
    assert {target["threads"].item() for target in targets} == {1}


def _report_threads(image, target):
    return image, target | {"threads": torch.tensor(torch.get_num_threads())}


@pytest.mark.parametrize("workers", [0, 1])
def test_the_next_image_stands_in_for_one_that_does_not_decode(make_annotations, write_image, tmp_path, workers):
    for i in range(4):
        write_image(tmp_path / f"{i}.png", 40 + i, 30)
    annotations = make_annotations([(30, 40 + i) for i in range(4)])
    broken = tmp_path / "1.png"
    broken.write_bytes(broken.read_bytes()[:-40])
    options = {"batch_size": 2, "workers": workers, "seed": 0, "shuffle": False}
    found = [
        image.shape[2]
        for images, _ in make_loader(Dataset(annotations), replace_bad=True, **options)
        for image in images
    ]
    assert found == [40, 42, 42, 43]
    with pytest.raises(UserError, match=r"1\.png"):
        list(make_loader(Dataset(annotations), **options))
    for i in range(4):
        (tmp_path / f"{i}.png").unlink()
    with pytest.raises(UserError, match=r"0\.png: no such image"):
        list(make_loader(Dataset(annotations), replace_bad=True, **options))


def test_an_image_that_does_not_decode_is_replaced_wherever_it_is_mixed_in(make_annotations, write_image, tmp_path):
    for i in range(12):
        write_image(tmp_path / f"{i}.png", 16, 16)
    broken = tmp_path / "5.png"
    broken.write_bytes(broken.read_bytes()[:-40])
    dataset = Dataset(make_annotations([(16, 16)] * 12), build_augmentation("mosaic:probability=1"))
    loader = make_loader(dataset, batch_size=1, workers=0, seed=0, shuffle=True, replace_bad=True, epochs=10)
    epochs = [_epoch(loader, epoch) for epoch in range(5)]
    assert [len(batches) for batches in epochs] == [12] * 5
    _assert_same(_epoch(loader, 4, skip_batches=3), epochs[4][3:])


def test_readable_samples_in_the_given_order():
    class Some:
        def __getitem__(self, i: int) -> tuple[int, dict]:
            if i == 1:
                raise UserError("image 1 cannot be read")
            return i, {}

    samples: Any = Some()
    assert [image for image, _ in readable(samples, [2, 1, 0])] == [2, 0]
    assert [image for image, _ in islice(cycle(readable(samples, [0, 1, 2])), 5)] == [0, 2, 0, 2, 0]
    with pytest.raises(UserError, match="image 1"):
        list(readable(samples, [1]))


def test_a_script_that_its_processes_run_again_is_explained(dataset, monkeypatch, one_line):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)  # as they import it
    with pytest.raises(UserError) as caught:
        next(iter(make_loader(dataset, batch_size=1, workers=1, seed=0, shuffle=False)))
    one_line(caught, "this script is run again by each process that it starts", '`if __name__ == "__main__":`')


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_script_without_a_guard_ends_with_advice(dataset, tmp_path, method):
    torch.save(dataset, tmp_path / "dataset.pt")
    (tmp_path / "script.py").write_text(
        "import multiprocessing, sys, torch\n"
        "from cascade_rcnn.data.loader import make_loader\n"
        f"multiprocessing.set_start_method({method!r}, force=True)\n"
        "dataset = torch.load(sys.argv[1], weights_only=False)\n"
        "list(make_loader(dataset, batch_size=1, workers=1, seed=0, shuffle=False))\n"
    )
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "dataset.pt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "UserError: this script is run again by each process that it starts; put its code below" in done.stderr
    assert "UserError: a data loading process could not start" in done.stderr.splitlines()[-1]
