from pathlib import Path

from cascade_rcnn.data.image_files import is_image, left_out, walk


def images_in(folder: Path) -> list[Path]:
    return [path for path in walk(folder) if is_image(path)]


def test_images_are_found_sorted_in_all_folders_without_other_files(tmp_path, write_image):
    for name in ("b.png", "a/c.JPG", "a/b.bmp"):
        write_image(tmp_path / name, 4, 3)
    (tmp_path / "a/notes.txt").write_text("no image")
    assert images_in(tmp_path) == [tmp_path / "a/b.bmp", tmp_path / "a/c.JPG", tmp_path / "b.png"]


def test_kinds_that_are_read(tmp_path):
    for suffix in ("avif", "jp2", "gif", "jfif", "heic", "cr2", "txt"):
        (tmp_path / f"a.{suffix}").touch()
    assert [path.suffix for path in images_in(tmp_path)] == [".avif", ".gif", ".jfif", ".jp2"]


def test_pictures_that_are_not_read_are_counted(tmp_path):
    for name in ("IMG_1.HEIC", "IMG_2.heic", "IMG_3.cr2", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    (note,) = left_out(walk(tmp_path))
    assert "2 .heic, 1 .cr2 (first: IMG_1.HEIC)" in note
    assert left_out([tmp_path / "a.jpg"]) == []


def test_hidden_files_and_folders_are_never_data(tmp_path, write_image):
    for name in ("a.png", "._a.png", ".ipynb_checkpoints/a-checkpoint.png", "sub/.thumbs/b.png"):
        write_image(tmp_path / name, 4, 3)
    assert images_in(tmp_path) == [tmp_path / "a.png"]
    assert images_in(tmp_path / ".ipynb_checkpoints") != []  # because the user named it


def test_annotated_images_of_predict_are_not_the_images_of_their_name(tmp_path, write_image):
    for name in ("found/pictures/a.png", "pictures/a.png"):
        write_image(tmp_path / name, 4, 3)
    (tmp_path / "found/images.jsonl").touch()
    assert images_in(tmp_path) == [tmp_path / "pictures/a.png"]


def test_links_are_followed_once_and_never_in_circles(tmp_path, write_image):
    write_image(tmp_path / "set/a/1.png", 4, 3)
    write_image(tmp_path / "elsewhere/2.png", 4, 3)
    for name, target in (
        ("set/a/loop", "."),
        ("set/a/up", ".."),
        ("set/out", "../elsewhere"),
        ("set/out_again", "../elsewhere"),
        ("set/above", ".."),
        ("elsewhere/back", "../set"),
    ):
        (tmp_path / name).symlink_to(target, target_is_directory=True)
    assert images_in(tmp_path / "set") == [tmp_path / "set/a/1.png", tmp_path / "set/out/2.png"]


def test_depth(tmp_path, write_image):
    for name in ("0.png", "a/1.png", "a/b/2.png"):
        write_image(tmp_path / name, 4, 3)
    assert [path.name for path in walk(tmp_path, depth=1)] == ["0.png", "1.png"]
