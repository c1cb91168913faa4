"""Prediction with a real Ray on this machine, with two actors."""

import io
import logging
import os
import shutil
import signal
import tarfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

ray = pytest.importorskip("ray")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from cascade_rcnn import Predictor, cli, load, save  # noqa: E402
from cascade_rcnn.errors import UserError  # noqa: E402
from cascade_rcnn.ray import predict_dataset  # noqa: E402
from cascade_rcnn.ray.job import digest  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NUMBER = 48


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(NUMBER):
        small = rng.integers(0, 255, (8, 12, 3), np.uint8)
        path = folder / f"part{i % 3}" / f"{i:03}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(small).resize((96, 64)).save(path)
    (folder / "bad.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def expected(images):
    predictor = Predictor("starter", min_size=64)
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    from cascade_rcnn.images.tensors import read_image

    return {name: predictor.detect([read_image(images / name)])[0] for name in names}


def rows(output) -> dict[str, dict]:
    table = pq.read_table(output)
    found = {row["path"]: row for row in table.to_pylist()}
    assert len(found) == len(table)  # no image is predicted twice
    return found


def assert_same(found, expected):
    assert sorted(name for name in found if found[name]["error"] is None) == sorted(expected)
    for name, one in expected.items():
        assert found[name]["scores"] == one["scores"].tolist()
        assert found[name]["boxes"] == one["boxes"].tolist()


def run(source, output, **options):
    return predict_dataset("starter", source, output, workers=2, min_size=64, **options)


def kill_an_actor(killed: threading.Event) -> None:
    """Kill the first process that runs the model as soon as it does."""
    for _ in range(2400):
        for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                name = cmdline.read_bytes()
                if b"MapWorker" in name:
                    time.sleep(1)
                    os.kill(int(cmdline.parent.name), signal.SIGKILL)
                    killed.set()
                    return
        time.sleep(0.1)


def test_a_killed_actor_loses_nothing(images, expected, tmp_path):
    killed = threading.Event()
    thread = threading.Thread(target=kill_an_actor, args=[killed])
    thread.start()
    summary = run(images, tmp_path / "found")
    thread.join()
    assert killed.is_set()
    assert (summary.done, summary.before, summary.failed) == (NUMBER + 1, 0, 1)
    found = rows(tmp_path / "found")
    assert_same(found, expected)
    assert "image" in found["bad.jpg"]["error"]


def test_it_continues_where_it_stopped(images, expected, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(images / "part0", part / "part0")
    first = run(part, tmp_path / "found")
    assert first.done == NUMBER // 3
    kept = next((tmp_path / "found").glob("*.parquet"))
    (tmp_path / "found" / "cut-short.parquet").write_bytes(kept.read_bytes()[:-20])
    shutil.copytree(images / "part1", part / "part1")
    second = run(part, tmp_path / "found")
    assert (second.done, second.before) == (NUMBER // 3, NUMBER // 3)
    assert not (tmp_path / "found" / "cut-short.parquet").exists()
    wanted = {name: one for name, one in expected.items() if not name.startswith("part2")}
    assert_same(rows(tmp_path / "found"), wanted)
    assert run(part, tmp_path / "found").done == 0
    with pytest.raises(UserError, match=r"other settings \(threshold\)"):
        run(part, tmp_path / "found", threshold=0.5)


def test_a_checkpoint_trained_further_is_another_one(tmp_path):
    model = load("starter")
    save(model, tmp_path / "before.safetensors")
    with torch.no_grad():
        model.roi_heads.heads[0].classifier.bias.add_(1e-4)
    save(model, tmp_path / "after.safetensors")
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    assert before.stat().st_size == after.stat().st_size
    assert digest(before) != digest(after)


def test_parquet_and_archives(images, expected, tmp_path):
    names = sorted(expected)[:6]
    contents = [(images / name).read_bytes() for name in names]
    structs = [{"bytes": content, "path": None} for content in contents]
    pq.write_table(pa.table({"file_name": names, "image": structs}), tmp_path / "images.parquet")
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        for name, content in zip(names, contents, strict=True):
            for suffix, data in ((".png", content), (".txt", b"a caption")):
                member = tarfile.TarInfo(name.removesuffix(".png") + suffix)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    for source in ("images.parquet", "images.tar"):
        run(tmp_path / source, tmp_path / f"{source}.found")
        assert_same(rows(tmp_path / f"{source}.found"), {name: expected[name] for name in names})


def test_mistakes(images, tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        run(tmp_path / "nowhere", tmp_path / "a")
    (tmp_path / "notes").mkdir()
    with pytest.raises(UserError, match="contains no images"):
        run(tmp_path / "notes", tmp_path / "b")
    assert not (tmp_path / "b").exists()  # a job that could not start leaves nothing behind
    pq.write_table(pa.table({"name": ["a"]}), tmp_path / "wrong.parquet")
    with pytest.raises(UserError, match="has the columns name; give the image as one of"):
        run(tmp_path / "wrong.parquet", tmp_path / "c")
    with pytest.raises(UserError, match="cannot be opened"):
        run("nosuch://bucket/folder", tmp_path / "d")
    with pytest.raises(UserError, match="contains other Parquet files"):
        run(images, tmp_path)


def test_the_command_line_and_an_address_of_fsspec(images, expected, tmp_path, capsys):
    """`local` is a file system of fsspec only."""
    source, output = f"local://{images}", f"local://{tmp_path}/found"
    command = ["predict", "--engine", "ray", source, "--checkpoint", "starter", "--output", output]
    for before in ("", f" ({NUMBER + 1} of them by earlier runs)"):
        with pytest.raises(SystemExit) as ended:
            cli.main([*command, "--min-size", "64", "--workers", "2"])
        said, error = capsys.readouterr()
        assert ended.value.code == 1
        assert f"{NUMBER + 1} images{before}: {output}" in said
        assert f"error: 1 of {NUMBER + 1} images could not be used (their rows have an error)" in error
    assert_same(rows(tmp_path / "found"), expected)


def test_a_file_that_is_not_a_checkpoint_is_found_before_anything_starts(images, tmp_path, capsys):
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    command = ["predict", "--engine", "ray", str(images), "--output", str(tmp_path / "found")]
    with pytest.raises(SystemExit):
        cli.main([*command, "--checkpoint", str(tmp_path / "broken.safetensors")])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path}/broken.safetensors: ")
    assert not (tmp_path / "found").exists()
