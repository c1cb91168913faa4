"""Flags of `predict` that are more than a value."""

from pathlib import Path

import pytest

from cascade_rcnn.commands.predict import read_thresholds
from cascade_rcnn.errors import UserError


def test_thresholds_of_classes(tmp_path: Path):
    assert read_thresholds(()) == {}
    assert read_thresholds(("car=0.4", "a=b=1")) == {"car": 0.4, "a=b": 1.0}
    (tmp_path / "t.json").write_text('{"car": 0.4, "person": 1}')
    assert read_thresholds((str(tmp_path / "t.json"),)) == {"car": 0.4, "person": 1}


@pytest.mark.parametrize("given", [("car",), ("=0.4",), ("car=high",), ("list.json",), ("text.json",), ("none.json",)])
def test_mistakes(tmp_path: Path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    Path("list.json").write_text("[0.4]")
    Path("text.json").write_text('{"car": "0.4"}')
    with pytest.raises(UserError) as caught:
        read_thresholds(given)
    assert "\n" not in str(caught.value)
