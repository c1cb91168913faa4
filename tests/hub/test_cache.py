"""Locations of the cache."""

from pathlib import Path

import pytest

from cascade_rcnn.hub.cache import cache_folder, is_offline


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CASCADE_RCNN_CACHE": "/data/kept", "XDG_CACHE_HOME": "/xdg"}, "/data/kept"),
        ({"CASCADE_RCNN_CACHE": "~/kept"}, "/home/me/kept"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/cascade-rcnn"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/cascade-rcnn"),  # as the XDG specification demands
        ({"XDG_CACHE_HOME": ""}, "/home/me/.cache/cascade-rcnn"),
        ({}, "/home/me/.cache/cascade-rcnn"),
    ],
)
def test_the_folder(variables, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("CASCADE_RCNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


@pytest.mark.parametrize(
    ("value", "expected"), [("1", True), ("yes", True), ("0", False), ("False", False), ("", False)]
)
def test_offline(value, expected, monkeypatch):
    monkeypatch.setenv("CASCADE_RCNN_OFFLINE", value)
    assert is_offline() is expected
