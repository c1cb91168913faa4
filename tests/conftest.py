"""All tests, and the processes that they start, run on one thread: models this small wait for other threads in vain."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported

TOGETHER = {"export", "studies"}  # folders whose tests share what takes long to make: one process runs them


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for folder in TOGETHER.intersection(item.path.parts):
            item.add_marker(pytest.mark.xdist_group(folder))


@pytest.fixture(scope="session")
def peers_folder() -> Path:
    """What detectron2 and mmdetection computed with small models."""
    folder = Path(__file__).parent / "fixtures" / "peers"
    if not folder.is_dir():
        pytest.skip("tests/fixtures/peers is missing: a source distribution leaves it out, the repository has it")
    return folder


@pytest.fixture
def two_threads() -> Iterator[None]:
    """For what depends on their number."""
    import torch

    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
