"""Finished images stay finished, whatever happens to the process."""

from pathlib import Path

import numpy as np
import pytest

from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.errors import UserError

SETTINGS = {"threshold": 0.5, "paths": ("a", "b")}


def entry(name: str, identity: int, **more) -> Entry:
    return Entry(file_name=name, image_id=identity, stamp=(5, 7), **more)


def filled(path: Path) -> Path:
    with Journal(path, SETTINGS) as journal:
        journal.add(
            [entry("a", 1, boxes=[(1, 2, 3, 4)], scores=[0.1], category_ids=[9]), entry("b", 2, error="broken")]
        )
        journal.add([entry("c", 3)])
    return path


def test_entries_survive_and_failed_or_changed_images_are_not_done(tmp_path):
    with Journal(filled(tmp_path / "images.jsonl"), SETTINGS) as journal:
        assert [one.file_name for one in journal.entries()] == ["a", "b", "c"]
        assert next(journal.entries()).boxes == [(1, 2, 3, 4)]
        assert [journal.has(name, (5, 7)) for name in "abcd"] == [True, False, True, False]
        assert not journal.has("a", (5, 8))
        assert journal.id_of("b") == 2
        journal.add([entry("b", 2, scores=[])])
        assert journal.has("b", (5, 7))
        assert [one.error for one in journal.entries()] == [None, None, None]


def test_a_line_that_was_cut_off_is_dropped_at_any_byte(tmp_path):
    path = filled(tmp_path / "images.jsonl")
    whole = path.read_bytes()
    ends = [k + 1 for k, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        with Journal(path, SETTINGS) as journal:
            done = max(0, sum(end <= size for end in ends) - 1)
            assert [one.file_name for one in journal.entries()] == ["a", "b", "c"][:done]
            journal.add([entry("z", 9)])
        with Journal(path, SETTINGS) as journal:
            assert journal.has("z", (5, 7))


def test_another_command_is_refused_unless_it_overwrites(tmp_path):
    path = filled(tmp_path / "images.jsonl")
    with pytest.raises(UserError, match=r"another command \(threshold 0.5, not 0.4\).*--overwrite") as caught:
        Journal(path, SETTINGS | {"threshold": 0.4})
    assert "\n" not in str(caught.value)
    with Journal(path, SETTINGS | {"threshold": 0.4}, overwrite=True) as journal:
        assert list(journal.entries()) == []
    with pytest.raises(UserError, match=r"threshold 0.4, not 0.5"):
        Journal(path, SETTINGS)


def test_settings_may_be_of_numpy(tmp_path):
    path, given = tmp_path / "images.jsonl", {"threshold": np.float32(0.5), "tiles": np.int64(64), "of": np.arange(2)}
    for settings in (given, {"threshold": 0.5, "tiles": 64, "of": [0, 1]}):  # the second is the same command
        with Journal(path, settings):
            pass


def test_none_is_not_the_default(tmp_path):
    """`--min-size None` turns resizing off; without it, the model's own size applies."""
    path = filled(tmp_path / "images.jsonl")
    with pytest.raises(UserError, match=r"another command \(min_size unset, not None\)"):
        Journal(path, SETTINGS | {"min_size": None})


def test_two_at_once_are_refused(tmp_path):
    with Journal(tmp_path / "images.jsonl", SETTINGS), pytest.raises(UserError, match="another predict is writing"):
        Journal(tmp_path / "images.jsonl", SETTINGS)


@pytest.mark.parametrize(
    "content", ["[]\n", "rubbish\n", '{"settings": {"threshold": 0.5, "paths": ["a", "b"]}}\n{"x": 1}\n']
)
def test_another_file_is_not_overwritten(tmp_path, content):
    path = tmp_path / "images.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match="not a record of `predict`"):
        Journal(path, SETTINGS)
    assert path.read_text() == content


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Journal(tmp_path / "file" / "images.jsonl", SETTINGS)


def test_one_that_starts_at_the_same_moment_does_not_empty_the_file(tmp_path, monkeypatch):
    path = tmp_path / "images.jsonl"
    with Journal(path, SETTINGS) as journal:
        journal.add([entry("a", 1)])
        monkeypatch.setattr(Path, "exists", lambda _: False)  # as it was before the first one created it
        with pytest.raises(UserError, match="another predict is writing"):
            Journal(path, SETTINGS)
        assert journal.entry("a").image_id == 1
