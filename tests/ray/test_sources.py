"""Reading of archives and Parquet files with a real Ray on this machine."""

import io
import logging
import tarfile
from pathlib import Path

import pytest

ray = pytest.importorskip("ray")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from cascade_rcnn.errors import UserError  # noqa: E402
from cascade_rcnn.ray import read_images  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
CONTENT = b"image" * 2000  # several blocks of an archive


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


def write_archive(path: Path, names: list[str], mode: str = "w") -> Path:
    """Write an archive of files whose contents are their names, followed by CONTENT."""
    with tarfile.open(path, mode) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name) + len(CONTENT)
            archive.addfile(member, io.BytesIO(name.encode() + CONTENT))
    return path


def long_name() -> bytes:
    """Return the start of a member whose name is too long for a header and follows it, cut off within the name."""
    member = tarfile.TarInfo("é" * 200 + ".jpg")
    return member.tobuf(tarfile.PAX_FORMAT)[:600]


def rows(source: Path | str, **options) -> dict[str, tuple[bytes | None, str | None]]:
    found = read_images(source, **options).take_all()
    assert len({row["path"] for row in found}) == len(found)
    return {row["path"]: (row["bytes"], row["error"]) for row in found}


def images(*names: str) -> dict[str, tuple[bytes | None, str | None]]:
    return {name: (name.encode() + CONTENT, None) for name in names}


def test_every_image_in_an_archive_is_a_row_whatever_dots_its_name_has(tmp_path):
    named = ["frame.0000.jpg", "frame.0001.jpg", "0.depth.png", "0.jpg", "v1.2/A.JPG", "cam1.0.jpg", "cam2.0.jpg"]
    named += ["cam1.1.jpg", "./b.tiff", "no.dots/c.webp"]
    others = ["readme.txt", "0.json", "jpg", "._0.jpg", "./._b.tiff", "a.jpg.txt"]
    mixed = [name for pair in zip(named, [*others, *(f"{k}.cls" for k in range(4))], strict=True) for name in pair]
    path = write_archive(tmp_path / "all.tar", mixed)
    assert rows(path) == rows(f"local://{path}") == images(*named)
    assert rows(path, done=named[:-1]) == images(named[-1])
    assert rows(write_archive(tmp_path / "zipped.tar", mixed, "w:gz")) == images(*named)
    assert rows(write_archive(tmp_path / "none.tar", others)) == {}


def test_links_and_folders_with_the_names_of_images_are_left_out(tmp_path):
    path = write_archive(tmp_path / "all.tar", ["a.jpg"])
    with tarfile.open(path, "a") as archive:
        for name, kind in (("b.jpg", tarfile.SYMTYPE), ("c.jpg", tarfile.LNKTYPE), ("d.jpg", tarfile.DIRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.jpg"
            archive.addfile(member)
    assert rows(path) == images("a.jpg")


def test_names_in_no_encoding_are_still_rows(tmp_path):
    path = tmp_path / "old.tar"
    with tarfile.open(path, "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("é.jpg"))
    assert rows(path) == {"\ufffd.jpg": (b"", None)}


def test_a_damaged_archive_loses_only_what_follows_the_damage(tmp_path):
    damage = {
        "content": lambda whole, second: whole[: second + 5000],
        "header": lambda whole, second: whole[: second + 100],
        "name": lambda whole, second: whole[:second] + long_name(),
        "between": lambda whole, second: whole[:second],
        "flipped": lambda whole, second: whole[:second] + b"!" + whole[second + 1 :],  # the header has a checksum
        "text": lambda whole, second: b"no archive" * 100,
        "empty": lambda whole, second: b"",
    }
    for name, damaged in damage.items():
        path = write_archive(tmp_path / f"{name}.tar", [f"{name}.jpg", "second.jpg"])
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, whole.index(b"second.jpg")))
    write_archive(tmp_path / "whole.tar", ["whole.1.jpg", "whole.2.jpg"])
    found = rows(tmp_path)
    for name in damage:
        content, error = found.pop(f"{name}.tar")
        assert content is None
        assert error is not None
        assert error.startswith(f"{name}.tar: cannot be read to its end (")
        assert "\n" not in error
    assert found == images(*(f"{name}.jpg" for name in list(damage)[:5]), "whole.1.jpg", "whole.2.jpg")


def test_a_damaged_parquet_file_loses_only_what_follows_the_damage(tmp_path):
    for part in "abd":
        table = pa.table({"key": [f"{part}{k}" for k in range(40)], "jpg": [b"%02d" % k + CONTENT for k in range(40)]})
        pq.write_table(table, tmp_path / f"{part}.parquet", row_group_size=20, compression="none", use_dictionary=False)
    pq.write_table(pa.table({"text": ["other columns"]}), tmp_path / "c.parquet")
    cut, wiped = tmp_path / "a.parquet", tmp_path / "b.parquet"
    cut.write_bytes(cut.read_bytes()[:-10])
    content = wiped.read_bytes()
    middle = content.index(b"20image") - 50  # in the headers of the second row group
    wiped.write_bytes(content[:middle] + bytes(100) + content[middle + 100 :])
    found = rows(tmp_path)
    for name in ("a.parquet", "b.parquet", "c.parquet"):
        error = found.pop(name)[1]
        assert error is not None
        assert error.startswith(f"{name}: cannot be read to its end (")
        assert "\n" not in error
    whole = [f"d{k}" for k in range(40)]
    assert set(whole) | {f"b{k}" for k in range(16)} <= set(found) <= {*whole, *(f"b{k}" for k in range(20))}
    assert all(row == (b"%02d" % int(name[1:]) + CONTENT, None) for name, row in found.items())
    with pytest.raises(UserError, match=r"a\.parquet: cannot be read as a Parquet file") as caught:
        read_images(tmp_path / "a.parquet")
    assert "\n" not in str(caught.value)


def test_the_images_of_a_parquet_file_as_bytes_and_as_structs(tmp_path):
    structs = [{"bytes": b"1", "path": None}, {"bytes": b"2", "path": None}]
    pq.write_table(pa.table({"file_name": ["a", "b"], "image": structs, "n": [1, 2]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"file_name": ["c", "d"], "image": [b"3", b"4"]}), tmp_path / "2.parquet")
    assert rows(tmp_path, done=["b"]) == {"a": (b"1", None), "c": (b"3", None), "d": (b"4", None)}


def test_an_image_without_a_name_in_a_parquet_file_is_a_row_with_an_error(tmp_path):
    pq.write_table(pa.table({"path": ["a", None], "bytes": [b"1", b"2"]}), tmp_path / "1.parquet")
    why = "1.parquet: has an image without a name (null in path); give it one"
    assert rows(tmp_path) == rows(tmp_path / "1.parquet") == {"a": (b"1", None), "1.parquet": (b"2", why)}
