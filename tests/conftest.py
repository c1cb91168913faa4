"""Run all tests, and the processes they start, on a single thread: models this small do not gain from more."""

import functools
import gc
import importlib.metadata
import os
import runpy
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cascade_rcnn.recipes import Recipe

os.environ["OMP_NUM_THREADS"] = "1"  # torch reads this when it is imported
importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)  # each training would search them
os.fsync = os.fstat  # no test has to wait for the disk; files that are not open are still noticed
gc.disable()  # until everything is imported
# Tests send these signals, which are ignored under nohup or in a script's background jobs.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

with suppress(ImportError):  # the tests for a GPU do without it
    from hypothesis import HealthCheck, settings

    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")  # which may be slow, or busy

TOGETHER = {"export", "cascade_rcnn_study"}  # folders whose tests share expensive fixtures: one process runs each


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for folder in TOGETHER.intersection(item.path.parts):
            item.add_marker(pytest.mark.xdist_group(folder))


def pytest_collection_finish() -> None:
    gc.freeze()  # so that no collection visits the million objects of torch and its like
    gc.enable()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Shorten the names of tests of long values, which are sent and printed many times, to the beginning of a line."""
    long = isinstance(val, str | bytes | int) and len(text := ascii(val)) > 60
    return f"{text[:40]}..." if long else None


@pytest.fixture(scope="session")
def peers_folder() -> Path:
    """Return the folder of what detectron2 and mmdetection computed with small models."""
    folder = Path(__file__).parent / "fixtures" / "peers"
    if not folder.is_dir():
        pytest.skip("tests/fixtures/peers is missing: a source distribution leaves it out, the repository has it")
    return folder


@pytest.fixture(scope="session")
def peer_weights(peers_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write each peer's thin detectors, under the peer's own names, to files, and return their paths."""
    from safetensors.numpy import save_file

    state_dict = runpy.run_path(str(peers_folder / "weights.py"))["state_dict"]
    folder = tmp_path_factory.mktemp("peers")
    places = {origin: f"{origin}/cascade_thin" for origin in ("detectron2", "mmdet")}
    places["detectron2, MViTv2"] = "detectron2/mvit_thin"
    files = {name: folder / f"{place.replace('/', '_')}.safetensors" for name, place in places.items()}
    for name, file in files.items():
        save_file(state_dict(peers_folder / places[name]), file)
    return files


@pytest.fixture(scope="session")
def dead() -> int:
    """Return the id of a process that has ended."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Run torch on two threads, for results that depend on their number."""
    import torch

    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def thin_recipe() -> "Recipe":
    """Return a recipe of one epoch of a thin cascade on the CPU, in this process; tests set `data` and `output`."""
    from cascade_rcnn.config import ModelOptions
    from cascade_rcnn.recipes import OptimizerConfig, Recipe

    return Recipe(
        model="cascade_rcnn_resnet18_fpn",
        weights_backbone=None,
        options=ModelOptions(
            backbone_width=8,
            pyramid_channels=8,
            head_width=16,
            anchor_sizes=(8, 16, 32, 64, 128),
            proposals=40,
            rois=16,
            min_size=None,
        ),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, lr_batch=2, warmup_steps=2, schedule="cosine"),
        epochs=1,
        batch_size=2,
        accelerator="cpu",
        precision="fp32",
        workers=0,
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Start Chromium, and skip the test where it is not installed."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium: apt install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()
