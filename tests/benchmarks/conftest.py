"""Let benchmarks see the machine's own settings, not those of the tests."""

import pytest

from benchmarks.measure import _RESTRICTIONS


@pytest.fixture(autouse=True)
def unrestricted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _RESTRICTIONS:
        monkeypatch.delenv(name, raising=False)
