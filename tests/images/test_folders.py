"""Which files are images, and the names they get."""

import os
from collections import Counter
from pathlib import Path

import PIL.Image
import pytest

from cascade_rcnn.engine.prediction.summary import PredictionSummary
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.folders import expand, notes_of


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (4, 3)).save(path)
    return path


def names(*patterns: str | Path, **options) -> list[str]:
    return [source.name for source in expand(patterns, **options)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "deep/b.jpg", "deep/c.JPG"):
        image(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("hello")
    return tmp_path / "photos"


def test_names_are_relative_to_what_was_given(folder):
    assert names(folder) == ["a.png", "deep/b.jpg", "deep/c.JPG"]
    assert names(folder / "deep") == ["b.jpg", "c.JPG"]
    assert names(folder / "a.png") == ["a.png"]
    assert names(folder / "*.png") == ["a.png"]
    assert names(folder / "**" / "*.jpg", folder / "a.png") == ["deep/b.jpg", "a.png"]
    assert next(expand([folder / "deep"])).path == folder / "deep" / "b.jpg"


def test_equal_names_of_two_folders_stay_apart_and_a_file_named_twice_is_one(folder, tmp_path):
    image(tmp_path / "more" / "a.png")
    assert names(folder, tmp_path / "more") == ["photos/a.png", "photos/deep/b.jpg", "photos/deep/c.JPG", "more/a.png"]
    assert names(folder / "a.png", folder, str(folder / "*.png")) == ["a.png", "deep/b.jpg", "deep/c.JPG"]


def test_links_in_a_circle_end(folder):
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "again").symlink_to(folder / "deep")
    found = names(folder)
    assert sorted(found) == ["a.png", "again/b.jpg", "again/c.JPG"]  # each folder once, under its first name


def test_hidden_files_pipes_and_what_predict_drew_are_passed_over(folder):
    image(folder / ".ipynb_checkpoints" / "a.png")
    image(folder / "._a.png")
    drawn = image(folder / "found" / "pictures" / "z.png")
    assert "found/pictures/z.png" in names(folder)  # the user's own
    (folder / "found" / "images.jsonl").write_text("")
    os.mkfifo(folder / "pipe.jpg")
    left_out = Counter[str]()
    assert names(folder, left_out=left_out) == ["a.png", "deep/b.jpg", "deep/c.JPG"]
    assert left_out == {}
    assert names(folder / "*.png") == ["a.png"]
    assert names(drawn.parent) == ["z.png"]  # requested by name
    with pytest.raises(UserError, match="no images found"):
        expand([folder / "pipe.jpg"])


def test_pictures_that_are_not_read_are_counted_and_other_files_not(folder):
    for name in ("x.heic", "y.HEIC", "z.psd"):
        (folder / name).write_bytes(b"")
    left_out = Counter[str]()
    assert len(names(folder, left_out=left_out)) == 3
    assert left_out == {".heic": 2, ".psd": 1}


def test_images_without_a_suffix_are_counted_and_may_be_given_by_name(folder):
    for name in ("download", "a.jpg_large", "b.png.1"):
        (folder / name).write_bytes((folder / "a.png").read_bytes())
    for name in ("notes", "a.txt"):
        (folder / name).write_text("text")
    left_out = Counter[str]()
    assert len(names(folder, left_out=left_out)) == 3
    assert notes_of(left_out) == ["skipped images whose names have no suffix of images: 3"]
    assert names(folder / "download") == ["download"]


def test_videos_are_counted(folder, tmp_path):
    (tmp_path / "films").mkdir()
    for place in (folder, tmp_path / "films"):
        (place / "film.MP4").write_bytes(b"")
    left_out = Counter[str]()
    assert len(names(folder, left_out=left_out)) == 3
    assert notes_of(left_out) == ["skipped videos: 1"]
    with pytest.raises(UserError, match=r"films: no images found \(skipped videos: 1\)"):
        expand([tmp_path / "films"])


def test_a_folder_of_nothing_but_other_formats_says_so(tmp_path):
    (tmp_path / "x.heic").write_bytes(b"")
    with pytest.raises(UserError, match=r"no images found \(skipped images in unsupported formats: 1 \.heic; convert"):
        expand([tmp_path])


def test_links_to_missing_images_are_counted(folder):
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "gone.txt").symlink_to(folder / "nowhere.txt")
    left_out = Counter[str]()
    assert len(names(folder, left_out=left_out)) == 3
    assert left_out == {"links to missing files": 1}
    assert PredictionSummary(left_out=left_out + Counter({".heic": 2})).notes == [
        "skipped images in unsupported formats: 2 .heic; convert them to JPEG or PNG",
        "skipped links to missing files: 1",
    ]


@pytest.mark.parametrize("wrong", ["nothing*.png", "nothing.png", "none"])
def test_a_pattern_without_images_is_reported_before_any_work(folder, wrong):
    with pytest.raises(UserError, match="no images found"):
        expand([folder, folder / wrong])
    with pytest.raises(UserError, match="no images given"):
        expand([])


def test_an_empty_path_is_not_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert "a.png" in names(".")
    with pytest.raises(UserError, match="a path is empty, like that of an unset variable"):
        expand(["deep", ""])


def test_the_folder_above_is_not_hidden(folder):
    assert names(folder / "dee*" / ".." / "*.png") == ["a.png"]


def test_a_name_that_is_not_unicode_is_found(folder):
    try:
        image(folder / "deep" / "b.jpg").rename(os.fsdecode(os.fsencode(folder / "caf") + b"\xe9.jpg"))
    except OSError:
        pytest.skip("this file system has Unicode names only")
    assert os.fsdecode(b"caf\xe9.jpg") in names(folder)
