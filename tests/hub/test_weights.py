"""Published detectors by name: downloaded once, converted without running code, stored, and found again."""

import hashlib
import multiprocessing
import pickle
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cascade_rcnn import create_model, load
from cascade_rcnn.errors import UserError
from cascade_rcnn.hub import table as tables
from cascade_rcnn.hub import weights
from cascade_rcnn.hub.peers import config_file
from cascade_rcnn.hub.table import Published, Publisher, Table
from cascade_rcnn.interop.convert import convert_checkpoint
from cascade_rcnn.models.checkpoint import read_config

PEERS = Path(__file__).resolve().parents[1] / "fixtures" / "peers"
REAL = tables.table()
LIKE = {"detectron2": "detectron2/cascade_mask_rcnn_R_50_FPN_3x", "mmdet": "mmdet/cascade-rcnn_r50_fpn_1x_coco"}


def written(origin: str, weights: Path, folder: Path) -> Path:
    """Write the fixtures' thin detector in its publisher's format and naming."""
    tensors = load_file(weights)
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    file = folder / origin
    if origin == "detectron2":
        file.write_bytes(pickle.dumps({"model": {k: v.numpy() for k, v in tensors.items()}, "__author__": "x"}, 3))
        name = f"model_final_{hashlib.md5(file.read_bytes()).hexdigest()[:6]}.pkl"
    else:
        torch.save({"state_dict": tensors, "meta": {"epoch": 12}}, file, _use_new_zipfile_serialization=False)
        name = f"thin_1x_coco_20200101-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"
    return file.rename(folder / name)


@pytest.fixture(scope="module")
def files(peer_weights, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("published")
    return {origin: written(origin, peer_weights[origin], folder) for origin in LIKE}


@pytest.fixture(params=LIKE)
def name(request) -> str:
    return f"{request.param}/thin"


@pytest.fixture(autouse=True)
def shelf(site, cache, files, monkeypatch) -> None:
    """Serve the real publishers' paths from the local host, each with a thin detector and the config of a real one."""
    rows = {row.name: row for row in REAL.weights}
    thin = []
    for origin, file in files.items():
        site.files[f"/{origin}/{file.name}"] = file.read_bytes()
        real = rows[LIKE[origin]]
        thin.append(
            Published(
                name=f"{origin}/thin",
                publisher=origin,
                path=f"/{origin}/{file.name}",
                backbone="thin",
                dataset="COCO",
                box_ap=real.box_ap,
                mask_ap=real.mask_ap,
                config=real.config,
            )
        )
    publishers = {
        origin: Publisher(origin=p.origin, host=site.host, page=p.page, licence=p.licence, hash=p.hash)
        for origin, p in REAL.publishers.items()
    }
    local = Table(
        conversion=1, publishers=publishers, bases=REAL.bases, weights=(*thin, rows["mmdet/htc_r50_fpn_1x_coco"])
    )
    monkeypatch.setattr(tables, "table", lambda: local)
    monkeypatch.setattr(weights, "table", lambda: local)


def same(one, other) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def left(cache: Path) -> list[str]:
    return sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file())


def test_a_name_is_fetched_converted_and_kept(name, site, cache, files, capsys):
    origin = name.split("/")[0]
    with config_file(tables.published()[name]) as config:
        expected, _ = convert_checkpoint(files[origin], origin, config)  # type: ignore[arg-type]
    model = load(name)
    assert model.config == expected.config
    assert same(model, expected)
    assert left(cache) == [f"weights/1/{name}.safetensors", f"weights/1/{name}.safetensors.lock"]
    said = capsys.readouterr().err
    assert f"note: fetching {site.host}/{origin}/{files[origin].name}" in said
    assert f"licence of the weights: {REAL.publishers[origin].licence}; see https://" in said
    again = load(name)
    assert same(again, model)
    assert len(site.headers) == 1
    assert capsys.readouterr().err == ""


def test_every_way_in_takes_a_name(cache, monkeypatch):
    model = create_model(weights="mmdet/thin", categories=["class 3", "new"], min_size=64)
    assert model.config.num_classes == 2
    monkeypatch.setenv("CASCADE_RCNN_OFFLINE", "1")  # the stored file is found
    assert read_config("mmdet/thin").num_classes == 20
    with pytest.raises(UserError, match="did you mean 'mmdet/thin'"):
        create_model(weights="mmdet/thinn")
    assert read_config(Path("mmdet") / "thin").num_classes == 20


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch, site):
    (tmp_path / "mmdet").mkdir()
    (tmp_path / "mmdet" / "thin").write_bytes(b"mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="mmdet/thin: not a readable checkpoint"):
        load("mmdet/thin")
    assert site.headers == []


def test_what_does_not_convert_is_reported_before_the_download(site):
    with pytest.raises(
        UserError, match=r"mmdet/htc_r50_fpn_1x_coco cannot be converted: model.type is 'HybridTaskCascade'"
    ):
        load("mmdet/htc_r50_fpn_1x_coco")
    assert site.headers == []


def test_without_a_network_the_manual_way_is_described_and_works(name, site, cache, files, monkeypatch):
    file = files[name.split("/")[0]]
    monkeypatch.setenv("CASCADE_RCNN_OFFLINE", "1")
    with pytest.raises(UserError) as caught:
        load(name)
    url = f"{site.host}/{name.split('/')[0]}/{file.name}"
    assert str(caught.value) == (
        f"{name} is not cached, and --offline or CASCADE_RCNN_OFFLINE is set: download {url} by other means and put it "
        f"into {cache / 'originals'} under the same name"
    )
    (cache / "originals").mkdir(parents=True)
    (cache / "originals" / file.name).write_bytes(file.read_bytes())
    assert load(name).config.num_classes == 20
    assert site.headers == []
    assert not (cache / "originals" / file.name).exists()


def test_a_file_brought_by_hand_that_is_not_whole_is_refused(cache, files):
    (cache / "originals").mkdir(parents=True)
    (cache / "originals" / files["mmdet"].name).write_bytes(files["mmdet"].read_bytes()[:-1])
    with pytest.raises(
        UserError, match=r"its sha256 does not begin with .*, so it is damaged; download it again from http"
    ):
        load("mmdet/thin")


def test_an_unreachable_host_describes_the_manual_way(site, cache):
    site.plan = ["403"]
    with pytest.raises(
        UserError, match="the server responded with 403 Forbidden; download it by other means and put it into"
    ) as caught:
        load("mmdet/thin")
    assert str(caught.value).endswith(f"{cache / 'originals'} under the same name, then use --offline")


def test_a_damaged_file_is_refused_with_a_way_out(site, cache, files):
    path = f"/detectron2/{files['detectron2'].name}"
    site.files[path] = site.files[path][:-10] + b"0123456789"
    with pytest.raises(
        UserError, match=r"rejected-model_final_\w+\.pkl: downloaded from .* as its name says; to use it"
    ) as caught:
        load("detectron2/thin")
    assert str(caught.value).endswith("cascade-rcnn convert --from detectron2")
    assert not list(cache.rglob("*.safetensors"))


def test_a_new_conversion_does_not_take_what_an_older_one_kept(site, cache, monkeypatch):
    load("mmdet/thin")
    newer = Table(conversion=2, publishers=tables.table().publishers, bases=REAL.bases, weights=tables.table().weights)
    monkeypatch.setattr(tables, "table", lambda: newer)
    monkeypatch.setattr(weights, "table", lambda: newer)
    load("mmdet/thin")
    assert len(site.headers) == 2
    assert (cache / "weights" / "2" / "mmdet" / "thin.safetensors").is_file()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # from Python 3.12 on
def test_several_processes_at_once_fetch_once(site, cache):
    site.plan = ["slow"]
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=load, args=("mmdet/thin",)) for _ in range(2)]
    for process in others:
        process.start()
    for process in others:
        process.join(60)
    assert [process.exitcode for process in others] == [0, 0]
    assert len(site.headers) == 1
    assert left(cache) == ["weights/1/mmdet/thin.safetensors", "weights/1/mmdet/thin.safetensors.lock"]


def test_several_threads_at_once_fetch_once(site):
    site.plan, heard, found = ["slow"], [], []
    row = tables.published()["detectron2/thin"]
    threads = [threading.Thread(target=lambda: found.append(weights.fetch(row, heard.append))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 3
    assert len(site.headers) == 1
    assert sum("is being downloaded by another process" in line for line in heard) == 2


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CASCADE_RCNN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"thin\.safetensors: cannot be written \(Not a directory\)"):
        load("mmdet/thin")
