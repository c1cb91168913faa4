"""A command refuses, before it works, outputs that it could not write or that would destroy something."""

import os

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.outputs import check_apart, check_outputs, check_owned


def refused(check, *arguments, **more) -> str:
    with pytest.raises(UserError) as caught:
        check(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_can_be_written_passes_and_nothing_is_created(tmp_path):
    (tmp_path / "old.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "elsewhere" / "new.json")
    check_outputs([None, tmp_path / "old.json", str(tmp_path / "a" / "b" / "new.json"), tmp_path / "link.json"])
    check_outputs([os.devnull, os.devnull], [os.devnull])  # replaces nothing
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


@pytest.mark.parametrize("name", ["folder", "file/below", "file/far/below", "", ".", "/"])
def test_places_for_no_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(check_outputs, [name])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours(tmp_path):
    tmp_path.chmod(0o500)
    assert "Permission denied" in refused(check_outputs, [tmp_path / "new" / "a.json"])


def test_an_input_is_no_output_under_any_of_its_names(tmp_path):
    (tmp_path / "in.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("in.json")
    (tmp_path / "here").symlink_to(tmp_path)
    for output in ("in.json", "link.json", "here/in.json", "../" + tmp_path.name + "/in.json"):
        said = refused(check_outputs, [tmp_path / output], [None, object(), "starter", tmp_path / "in.json"])
        assert said.startswith(f"{tmp_path / output}: would replace an input of this command ({tmp_path}/in.json)")
        refused(check_outputs, [tmp_path / "in.json"], [str(tmp_path / output)])
    (tmp_path / "other.json").write_text("{}")
    check_outputs([tmp_path / "other.json", tmp_path / "new.json"], [tmp_path / "in.json", tmp_path / "new.json"])


def test_two_outputs_are_two_files(tmp_path):
    (tmp_path / "link.json").symlink_to("a.json")
    for exists in (False, True):
        if exists:
            (tmp_path / "a.json").write_text("")
        for other in ("a.json", "link.json", "x/../a.json"):
            assert "two outputs" in refused(check_outputs, [tmp_path / "a.json", None, tmp_path / other])


def test_an_input_is_in_no_folder_that_is_replaced(tmp_path):
    (tmp_path / "out" / "pictures" / "deep").mkdir(parents=True)
    picture = tmp_path / "out" / "pictures" / "deep" / "a.png"
    picture.write_bytes(b"")
    (tmp_path / "album").symlink_to(tmp_path / "out" / "pictures")
    for given in (picture, picture.parent, tmp_path / "album", tmp_path / "album" / "deep" / "a.png"):
        assert str(given) in refused(check_apart, [tmp_path / "out" / "pictures"], [given])
    check_apart([tmp_path / "out" / "pictures"], [tmp_path, tmp_path / "out", "rtsp://camera", tmp_path / "none.png"])


def test_no_input_is_read_if_there_is_nothing_to_replace(tmp_path):
    def inputs():
        raise AssertionError
        yield

    check_outputs([tmp_path / "new.json"], inputs())


def test_files_of_others_are_kept_and_ours_are_replaced(tmp_path):
    check_owned(tmp_path / "none", ["page.html"], record="record.json")
    (tmp_path / "page.html").write_text("theirs")
    check_owned(tmp_path, ["other.html"], record="record.json")
    said = refused(check_owned, tmp_path, ["other.html", "page.html"], record="record.json")
    assert said.startswith(f"{tmp_path / 'page.html'}: ")
    (tmp_path / "record.json").write_text("")
    check_owned(tmp_path, ["page.html"], record="record.json")
