import unicodedata
from pathlib import Path

import pytest

from cascade_rcnn.data.names import FileIndex, find_folder, locate
from cascade_rcnn.errors import UserError


def _index(*names: str) -> FileIndex:
    return FileIndex(Path("root"), [Path("root") / name for name in names])


@pytest.mark.parametrize(
    "name",
    [
        "a/über 1.jpg",
        unicodedata.normalize("NFD", "a/über 1.jpg"),
        r"a\über 1.jpg",
        r"C:\data\set\a\über 1.jpg",
        "/home/other/a/über 1.jpg",
        "file:///home/a/%C3%BCber%201.jpg",
        "https://bucket.example/set/a/über 1.jpg?X-Amz-Signature=ab/c.jpg#d",
        "../a/über 1.jpg",
        "über 1.jpg",
        "A/ÜBER 1.JPG",
        "/data/local-files/?d=a/über 1.jpg",
        " a/über 1.jpg\r\n",
    ],
)
def test_names_of_other_machines_are_found_by_their_ends(name):
    files = _index("a/über 1.jpg", "b/other.jpg")
    assert files.find(name) == Path("root/a/über 1.jpg")


def test_the_longest_end_wins_and_letters_as_they_are():
    files = _index("train/1.jpg", "val/1.jpg", "a.jpg", "A.jpg")
    assert files.find("/x/val/1.jpg") == Path("root/val/1.jpg")
    assert files.find("A.jpg") == Path("root/A.jpg")
    with pytest.raises(UserError, match=r"1\.jpg: could be .*train.* or .*val.*, or give the folder of the images"):
        files.find("1.jpg")


def test_a_complete_name_is_not_that_of_a_file_in_a_subfolder():
    names = [Path("root/1.jpg"), Path("root/sub/1.jpg"), Path("root/sub/sub/1.jpg")]
    for stems, end in ((False, ".jpg"), (True, "")):
        files = FileIndex(Path("root"), names, stems=stems)
        assert [files.find(f"{name}{end}") for name in ("1", "sub/1", "sub/sub/1")] == names


def test_a_file_of_another_folder_is_not_a_match():
    files = _index("val/1.jpg", "2.jpg")
    assert files.find("train/1.jpg") is None
    assert files.find("train/3.jpg") is None
    assert files.find("") is None
    assert files.find("/x/train/2.jpg") == Path("root/2.jpg")  # the complete path from the file exists


def test_only_absolute_names_may_begin_with_folders_of_another_machine():
    files = _index("images/siteB/cam1/1.jpg")
    assert files.find("siteA/cam1/1.jpg") is None  # a relative name says which site it is
    assert files.find("cam1/1.jpg") == files.find("/data/set/cam1/1.jpg") == Path("root/images/siteB/cam1/1.jpg")
    assert files.find(r"D:\set\cam1\1.jpg") == Path("root/images/siteB/cam1/1.jpg")


def test_a_folder_named_for_another_split_is_no_match():
    files = _index("train2017/images/1.jpg", "valid/images/2.jpg")
    assert files.find("/x/val/images/1.jpg") is None
    assert files.find("/x/val/images/2.jpg") == Path("root/valid/images/2.jpg")  # another name of the same split
    paths = [Path("root/train/1.jpg"), Path("root/val/1.jpg"), Path("root/train/3.jpg")]
    files = FileIndex(Path("root"), paths, split="instances_val2017")
    assert files.find("1.jpg") == Path("root/val/1.jpg")
    assert files.find("3.jpg") is None
    assert files.find("train/3.jpg") == Path("root/train/3.jpg")  # if the name says so


def test_stems():
    files = FileIndex(Path("root"), [Path("root/sub/p.1.JPG"), Path("root/p.jpg")], stems=True)
    assert files.find("p.1") == Path("root/sub/p.1.JPG")
    assert files.find("p") == Path("root/p.jpg")


def test_locate_takes_the_folder_that_has_most_and_says_what_it_had_to_look_for(tmp_path, write_image):
    for name in ("one/a.png", "two/a.png", "two/b.png", "two/deep/c.png"):
        write_image(tmp_path / name, 4, 3)
    folders = [(tmp_path / "none", None), (tmp_path / "one", None), (tmp_path / "two", None)]
    folder, names, notes = locate(["a.png", "b.png", "x/c.png", "deep/c.png", "lost.png"], folders)
    assert folder == tmp_path / "two"
    assert names == ["a.png", "b.png", "x/c.png", "deep/c.png", "lost.png"]
    assert notes == []
    folder, names, notes = locate(["/x/a.png", "c.png"], folders[2:])
    assert names == ["a.png", "deep/c.png"]
    assert "2 of 2 images were found by the end of their path" in notes[0]


def test_images_outside_the_folder_that_has_some_are_missing_rather_than_others_of_the_same_name(tmp_path, write_image):
    for name in ("home/1.png", "home/deep/2.png", "other/3.png"):
        write_image(tmp_path / name, 4, 3)
    folders = [(tmp_path / "home", None), (tmp_path / "other", None)]
    folder, names, notes = locate(["1.png", "2.png", "3.png"], folders)
    assert (folder, names) == (tmp_path / "home", ["1.png", "deep/2.png", "3.png"])
    assert "1 of 3 images were found" in notes[0]
    there = str(tmp_path / "home/1.png")  # says nothing about the folder of the others
    assert locate([there, "x/3.png"], folders).names == [there, str(tmp_path / "other/3.png")]


def test_images_found_elsewhere_exist_whatever_the_current_folder(tmp_path, write_image, monkeypatch):
    for name in ("set/list/1.png", "set/other/2.png"):
        write_image(tmp_path / name, 4, 3)
    monkeypatch.chdir(tmp_path)
    folder, names, _ = locate(["x/1.png", "x/2.png"], [(Path("set/list"), 1), (Path("set/other"), 1)])
    assert (folder, names) == (Path("set/list"), ["1.png", str(tmp_path / "set/other/2.png")])
    assert all((folder / name).exists() for name in names)


def test_locate_without_any_folder_leaves_names_alone(tmp_path):
    assert locate(["a.png"], [(tmp_path / "none", None)]) == (tmp_path / "none", ["a.png"], [])


def test_locate_looks_no_deeper_than_told(tmp_path, write_image):
    write_image(tmp_path / "1/2/a.png", 4, 3)
    assert locate(["a.png"], [(tmp_path, 1)]).names == ["a.png"]
    assert locate(["a.png"], [(tmp_path, 2)]).names == ["1/2/a.png"]


def test_locate_reads_odd_but_valid_names_as_the_system_does(tmp_path, write_image):
    write_image(tmp_path / "in/a.png", 4, 3)
    names = ["in/a.png", "in//a.png", "./in/./a.png", "in/../in/a.png", str(tmp_path / "in/a.png")]
    assert locate(names, [(tmp_path, 1)]) == (tmp_path, names, [])
    assert locate(["", "in/", "in/a.png\0"], [(tmp_path, 1)]) == (tmp_path, ["", "in/", "in/a.png\0"], [])


def test_folders_are_found_by_the_longest_end(tmp_path):
    (tmp_path / "set/train").mkdir(parents=True)
    (tmp_path / "train").mkdir()
    assert find_folder("train", [tmp_path]) == tmp_path / "train"
    assert find_folder("/content/set/train", [tmp_path]) == tmp_path / "set/train"
    assert find_folder(r"C:\other\train", [tmp_path]) == tmp_path / "train"
    assert find_folder("val", [tmp_path]) is None
    assert find_folder("x" * 5000, [tmp_path]) is None
