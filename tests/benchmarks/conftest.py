"""Measured as the machine is, whatever the tests themselves run under."""

import pytest

from benchmarks.measure import _RESTRICTIONS


@pytest.fixture(autouse=True)
def unrestricted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _RESTRICTIONS:
        monkeypatch.delenv(name, raising=False)
