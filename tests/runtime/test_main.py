"""The runtime's command, and the files of its own distribution."""

import ast
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from cascade_rcnn import rle
from cascade_rcnn.config import Category
from cascade_rcnn.runtime import __main__ as command

ROOT = Path(__file__).parents[2]


class Found:
    """A runtime that finds two objects in every image."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.config = SimpleNamespace(categories=(Category(id=7, name="nut"), Category(id=9, name="bolt")))

    def detect(self, arrays):
        boxes = np.array([[1, 2, 4, 8], [0, 0, 2, 2]], np.float32)
        masks = np.zeros((2, 8, 8), bool)
        masks[0, 2:8, 1:4] = True
        scores, labels = np.array([0.75, 0.25], np.float32), np.array([2, 1])
        return [{"boxes": boxes, "scores": scores, "labels": labels, "masks": masks}]


def test_the_command_writes_coco_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "Runtime", Found)
    for name in ("b.png", "a.png"):
        PIL.Image.new("RGB", (8, 8)).save(tmp_path / name)
    command.main(["m.onnx", str(tmp_path), "--threshold", "0.5", "--output", str(tmp_path / "d.json")])
    found = json.loads((tmp_path / "d.json").read_text())
    assert [(one["image_id"], one["file_name"]) for one in found] == [(1, "a.png"), (2, "b.png")]
    assert found[0]["bbox"] == [1, 2, 3, 6]
    assert (found[0]["category_id"], found[0]["category_name"], found[0]["score"]) == (9, "bolt", 0.75)
    mask = found[0]["segmentation"]
    assert mask["size"] == [8, 8]
    assert rle.from_string(mask["counts"].encode()).tolist() == [10, 6, 2, 6, 2, 6, 32]  # in column order
    assert capsys.readouterr().out == f"2 detections: {tmp_path / 'd.json'}\n"
    command.main(["m.onnx", str(tmp_path / "a.png"), "--threshold", "0.5", "--output", str(tmp_path / "d.json")])
    assert capsys.readouterr().out == f"1 detection: {tmp_path / 'd.json'}\n"


def test_a_mistake_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main([str(tmp_path / "nowhere.onnx"), "a.jpg"])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_damaged_image_is_skipped_and_the_others_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "Runtime", Found)
    for name in ("a.png", "c.png"):
        PIL.Image.new("RGB", (8, 8)).save(tmp_path / name)
    damaged, output = tmp_path / "b.png", tmp_path / "d.json"
    damaged.write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(SystemExit) as stopped:
        command.main(["m.onnx", str(tmp_path), "--output", str(output)])
    assert stopped.value.code == 1
    found = json.loads(output.read_text())
    assert [(one["image_id"], one["file_name"]) for one in found[::2]] == [(1, "a.png"), (3, "c.png")]
    said = capsys.readouterr()
    assert said.out == f"4 detections: {output}\n"
    skipped, error = said.err.splitlines()
    assert skipped.startswith(f"skipped: {damaged}: cannot open this image")
    assert error == f"error: 1 image could not be used (see above); {output} holds the others"


@pytest.mark.parametrize(("threshold", "shown"), [("50", "50.0"), ("nan", "nan"), ("-0.1", "-0.1")])
def test_a_threshold_is_a_score(tmp_path, monkeypatch, capsys, threshold, shown):
    monkeypatch.setattr(command, "Runtime", lambda *_, **__: pytest.fail("the work began"))
    with pytest.raises(SystemExit) as stopped:
        command.main(["m.onnx", "a.png", "--output", str(tmp_path / "d.json"), f"--threshold={threshold}"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == f"error: threshold is {shown}; give 0 to 1\n"
    assert list(tmp_path.iterdir()) == []


def test_an_input_is_not_replaced(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "Runtime", lambda *_, **__: pytest.fail("the work began"))
    model, image = tmp_path / "m.onnx", tmp_path / "a.png"
    for path in (model, image):
        path.write_bytes(b"content")
    for path in (model, image):
        with pytest.raises(SystemExit):
            command.main([str(model), str(tmp_path), "--output", str(path)])
        assert f"{path}: would replace an input" in capsys.readouterr().err
        assert path.read_bytes() == b"content"


def test_the_distribution_holds_what_the_runtime_imports():
    """All files that the runtime imports are in its wheel, and none of them imports torch at the top level."""
    project = tomllib.loads((ROOT / "packaging" / "runtime" / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    packed = [(ROOT / "packaging" / "runtime" / source).resolve() for source in included]
    assert all(path.exists() for path in packed)
    assert all(source in (f"../../src/{target}", "../../LICENSE") for source, target in included.items())
    todo = list((ROOT / "src" / "cascade_rcnn" / "runtime").glob("*.py"))
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        assert any(path == one or one in path.parents for one in packed), path
        todo += [found for name in _imports(path) if (found := _file(name))]
    assert len(seen) > 30


def _imports(path: Path) -> set[str]:
    """Return the package's modules that a file imports, except those for type checkers only."""
    found: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "cascade_rcnn":
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} - {"cascade_rcnn"}
        nodes += ast.iter_child_nodes(node)
    return found


def _file(name: str) -> Path | None:
    path = ROOT.joinpath("src", *name.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((one for one in candidates if one.is_file()), None)


def test_ctrl_c_and_an_engine_that_fails_lose_nothing(tmp_path, monkeypatch, capsys):
    class Third(Found):
        """A runtime that fails on the second image and is interrupted at the fourth."""

        number = 0

        def detect(self, arrays):
            self.number += 1
            if self.number == 2:
                raise RuntimeError("no room\nat 0x7f")
            if self.number == 4:
                raise KeyboardInterrupt
            return super().detect(arrays)

    monkeypatch.setattr(command, "Runtime", Third)
    for name in "abcd":
        PIL.Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    output = tmp_path / "d.json"
    with pytest.raises(SystemExit) as stopped:
        command.main(["m.onnx", str(tmp_path), "--output", str(output)])
    assert stopped.value.code == 130
    assert [one["file_name"] for one in json.loads(output.read_text())[::2]] == ["a.png", "c.png"]
    assert capsys.readouterr().err.splitlines() == [
        f"skipped: {tmp_path / 'b.png'}: no room",
        f"interrupted: {output} holds the images before",
    ]


def test_what_is_left_out_is_mentioned(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "Runtime", Found)
    pages = [PIL.Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "b.heic").write_bytes(b"x")
    PIL.Image.fromarray(np.full((8, 8), 1023, np.uint16)).save(tmp_path / "c.png")
    command.main(["m.onnx", str(tmp_path), "--output", str(tmp_path / "d.json")])
    advice = "if recorded with 8, 10 or 12 bits, multiply by 256, 64 or 16"
    assert capsys.readouterr().err.splitlines() == [
        "note: skipped images in unsupported formats: 1 .heic; convert them to JPEG or PNG",
        "note: read only the first page or frame: 1 image",
        f"note: read as nearly black: 1 image of 16 bits with values below an eighth of 65535; {advice}",
    ]
