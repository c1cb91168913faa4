"""Checkpoint files are read without running anything in them."""

import argparse
import datetime
import os
import pickle
import sys
import types
from collections import OrderedDict, defaultdict
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cascade_rcnn.errors import UserError
from cascade_rcnn.tensor_files import read

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.ones(2, np.float32)}
TENSORS = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}


class Malicious:
    """An object that creates a folder when Python unpickles it."""

    def __init__(self, made: Path) -> None:
        self.made = str(made)

    def __reduce__(self):
        return os.mkdir, (self.made,)


class Unknown:
    """A user-defined class."""


def same(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_safetensors(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors")
    same(read(tmp_path / "x.safetensors").state)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_torch_files_with_the_tables_that_the_peers_write(tmp_path, key, zipped):
    table = OrderedDict(TENSORS)
    content = (
        table if key is None else {key: table, "meta": {"epoch": 3, "CLASSES": ("cat",)}, "optimizer": {"lr": 1.0}}
    )
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    found = read(tmp_path / "x.pth")
    same(found.state)
    assert found.meta == ({} if key is None else {"epoch": 3, "CLASSES": ("cat",)})


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickled_arrays_of_the_model_zoo(tmp_path, protocol):
    content = {"model": ARRAYS, "__author__": "someone", "lr": np.float32(0.1)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol))
    same(read(tmp_path / "x.pkl").state)


def write(path: Path, content: object) -> None:
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization="old" not in path.stem)


@pytest.mark.parametrize("name", ["x.pkl", "x.pth", "old.pth"])
@pytest.mark.parametrize("place", ["table", "beside", "whole"])
def test_a_malicious_file_is_refused_by_name_and_not_run(tmp_path, name, place):
    evil = Malicious(tmp_path / "made")
    content = {
        "table": {"model": {"a": evil}},
        "beside": {"model": TENSORS if ".pth" in name else ARRAYS, "meta": evil},
        "whole": evil,
    }[place]
    write(tmp_path / name, content)
    with pytest.raises(UserError, match=rf"{name}: refused: the file refers to '(posix|nt)\.mkdir'"):
        read(tmp_path / name)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["x.pkl", "x.pth", "old.pth"])
def test_unknown_classes_are_refused_by_name(tmp_path, name):
    write(tmp_path / name, {"model": TENSORS if ".pth" in name else ARRAYS, "log": Unknown()})
    with pytest.raises(UserError, match=r"Unknown'"):
        read(tmp_path / name)


@pytest.mark.parametrize("array", [np.array([None]), np.array(["text"]), np.zeros(1, [("a", "f4")])])
def test_only_numbers_make_arrays(tmp_path, array):
    write(tmp_path / "x.pkl", {"model": {"a": array}})
    with pytest.raises(UserError, match="non-numeric"):
        read(tmp_path / "x.pkl")


def test_arrays_of_any_order(tmp_path):
    table = {"a.weight": np.asfortranarray(ARRAYS["a.weight"]), "a.bias": ARRAYS["a.bias"].astype(">f4")}
    write(tmp_path / "x.pkl", {"model": table})
    same(read(tmp_path / "x.pkl").state)


def test_a_codec_cannot_be_abused(tmp_path):
    file = tmp_path / "x.pkl"
    file.write_bytes(b"c_codecs\nencode\n(Vabc\nVzlib\ntR.")
    with pytest.raises(UserError, match="zlib"):
        read(file)


@pytest.fixture
def history():
    """Yield a class like those in mmengine's checkpoints, which no longer exists when the file is read."""
    module = types.ModuleType("mmengine.history")
    module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    sys.modules["mmengine"], sys.modules[module.__name__] = types.ModuleType("mmengine"), module
    yield module.HistoryBuffer  # type: ignore[attr-defined]
    sys.modules.pop("mmengine", None)
    sys.modules.pop(module.__name__, None)


def forget() -> None:
    for name in ("mmengine", "mmengine.history"):
        del sys.modules[name]


def test_training_logs_beside_the_tensors_become_placeholders(tmp_path, history):
    log = history()
    log.values = np.arange(3)
    torch.save({"state_dict": TENSORS, "message_hub": {"loss": log, "best": np.float64(1)}}, tmp_path / "x.pth")
    forget()
    same(read(tmp_path / "x.pth").state)
    assert "mmengine" not in sys.modules


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_scripts_store_beside_the_tensors_is_skipped(tmp_path, zipped):
    beside = {
        "args": argparse.Namespace(output=PurePosixPath("runs"), lr=np.float64(0.1)),
        "folder": PureWindowsPath("C:/runs"),
        "history": defaultdict(list, {"loss": [1.0]}),
        "started": datetime.datetime(2024, 1, 1),
        "scheduler": torch.optim.lr_scheduler.StepLR(torch.optim.SGD([torch.zeros(1, requires_grad=True)]), 1),
    }
    torch.save({"model": TENSORS, **beside}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    same(read(tmp_path / "x.pth").state)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".pth.tar", ".bin", ".PTH"])
def test_names_lose_the_prefixes_of_wrappers(tmp_path, prefix, suffix):
    wrapped = {prefix + name: tensor for name, tensor in TENSORS.items()}
    torch.save({"model": {"state_dict": wrapped}, "ema_state": wrapped}, tmp_path / f"x{suffix}")
    found = read(tmp_path / f"x{suffix}")
    same(found.state)
    assert found.averages == ["ema_state"]


def test_what_a_failed_download_leaves_is_named(tmp_path):
    for begin, what in ((b"\n<!DOCTYPE html>", "a web page"), (b"version https://git-lfs.github.com/spec", "Git LFS")):
        (tmp_path / "x.pth").write_bytes(begin)
        with pytest.raises(UserError, match=rf"x\.pth: this is .*{what}"):
            read(tmp_path / "x.pth")


def test_a_header_of_any_length_is_not_a_web_page(tmp_path):
    """A .safetensors file begins with the length of its header: 0x3c20 is a space and "<"."""
    save_file(TENSORS, tmp_path / "x.safetensors")
    content = (tmp_path / "x.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].ljust(0x3C20)
    (tmp_path / "x.safetensors").write_bytes((0x3C20).to_bytes(8, "little") + header + content[8 + length :])
    same(read(tmp_path / "x.safetensors").state)


def test_no_placeholder_among_the_tensors(tmp_path, history):
    torch.save({"state_dict": {**TENSORS, "log": history()}}, tmp_path / "x.pth")
    forget()
    with pytest.raises(UserError, match=r"x\.pth: 'log' is a Placeholder, not a tensor"):
        read(tmp_path / "x.pth")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        read(tmp_path / "none.pth")
    with pytest.raises(UserError, match=r"unknown kind of checkpoint; give a \.safetensors, \.pkl, \.pth, \.pt, "):
        read(tmp_path / "x.onnx")
    for name in ("x.pth", "x.pkl", "x.safetensors"):
        (tmp_path / name).write_bytes(b"\x80\x04no checkpoint at all")
        with pytest.raises(UserError, match=rf"{name}: ") as caught:
            read(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="contains a list"):
        read(tmp_path / "list.pth")
