"""Configs written as Python: the meaning of their statements, without running code or computing too much."""

import sys
import time
from pathlib import Path

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.mmdet_files import read, read_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = dict(a=1, **dict(b=2))", {"a": 1, "b": 2}),
        ("y = 3\nx = [dict(k=y)] * 2 + [-y, y / 2, y // 2, 2**y, y % 2]", [{"k": 3}, {"k": 3}, -3, 1.5, 1, 8, 1]),
        ("x = {'a': (1, 2), **{'b': None}}", {"a": [1, 2], "b": None}),
        ("n = 2\nx = f'r{n}_{True}' + 'z' * n", "r2_Truezz"),
        ("x = [a * b for a, b in zip([1, 2], (3, 4)) for _ in range(2)]", [3, 3, 8, 8]),
        ("x = {f's{i}': v for i, v in enumerate('ab')}", {"s0": "a", "s1": "b"}),
        ("x = [1, 2, 3, 4][1:-1]\nx += [9]\nx[0] *= 5", [10, 3, 9]),
        ("x = dict(a=1, b=2)\ndel x['a']\nx.update(c=dict(d=1))\nx.c.d = 2", {"b": 2, "c": {"d": 2}}),
        ("a, x = 1, [*range(2), *(5,)]", [0, 1, 5]),
        ("x = []\nfor i in range(3):\n    x.append(i)", [0, 1, 2]),
        ("d = dict(a=dict(b=1))\nx = d['a'].pop('b') + len(d.keys())", 2),
        ("i = 7\ny = [i for i in range(3)]\nx = i", 7),
        ("import os.path as osp\nx = osp.join('a', 'b')", {"type": "join", "args": ["a", "b"]}),
        ("import copy\ny = [dict(a=1)]\nx = copy.deepcopy(y)\ny[0]['a'] = 2", [{"a": 1}]),
        ("from mmdet.models import FPN\nx = dict(type=FPN)", {"type": "FPN"}),
        ("x: int = 4", 4),
    ],
)
def test_what_a_config_means(text, expected):
    def as_it_is(name):
        return name if name.startswith("osp") else name.rpartition(".")[2]

    found = read_text(text, "config.py")["x"]
    if isinstance(found, dict) and "type" in found:
        found["type"] = as_it_is(found["type"])
    assert found == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = __import__('os').system('touch here')", "line 1 holds '__import__'"),
        ("import os\nos.remove(dict(a=1))", r"line 2: calls 'os.remove\(dict\(a=1\)\)', which is not run here"),
        ("x = (1).__class__", "line 1: uses '__class__', which does not exist"),
        ("x = '{0.__class__}'.format(1)", "line 1: uses 'format', which does not exist"),
        ("x = [i for i in range(9) if i]", "line 1 holds a comprehension with a condition"),
        ("while True: pass", "line 1 is not an assignment"),
        ("x = y", "line 1 holds 'y', which is not a plain value"),
        ("x = dict(a=1)\nx.b.c = 2", "line 2: uses 'b', which does not exist"),
        ("x = 1 + 'a'", "line 1: calculates with 'a'"),
        ("x = f'{[1]}'", "line 1: formats something other than text and numbers"),
        ("x = f'{1:>999999999}'", "line 1 holds '"),
        ("x = 1 / 0", "line 1: division by zero"),
        ("x = [1][5]", "line 1: list index out of range"),
        ("x = 1\ndel x.y", "line 2: 'int' object has no attribute 'pop'"),
        ("x = [1].keys()", "line 1: type object 'list' has no attribute 'keys'"),
        ("x = b'a'", "not a plain value"),
        ("x = 2j", "not a plain value"),
        ("x = (1", r"line 1: '\(' was never closed"),
        ("x = 1\0", "null byte|never|line"),
        ("x = dict(1, 2, 3)", "line 1: dict expected at most 1 argument"),
        ("from .a import b\n_base_ = b", "not name files|not a plain value"),
        ("_base_ = [1]", "line 1 does not name files to build on"),
    ],
)
def test_what_is_more_than_values_is_refused(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        read_text(text, "config.py")
    assert str(caught.value).startswith("config.py: ")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "x = [0] * 10**9",
        "x = 'a' * 10**9",
        "x = list(range(10**12))",
        "x = [[0] * 1000] * 1000\ny = [x] * 1000\nz = [y, y]",
        "x = 9**9**9",
        "x = 10\n" + "x = x * x\n" * 60,
        "x = 'aa'\n" + "x = x + x\n" * 60,
        "x = f'aa'\n" + "x = f'{x}{x}'\n" * 60,
        "x = [0]\n" + "x = [x, x]\n" * 60,
        "x = dict(a=0)\n" + "x = dict(a=x, b=x)\n" * 60,
        "x = [0]\n" + "x = [x, x]\n" * 60 + "y = 1 + x",
        "x = [0]\nx.append(x)",
        "x = dict()\nx['x'] = x",
        "x = " + "[" * 5000,
        "x = " + "-" * 50000 + "1",
        "x = " + "1 + " * 20000 + "1",
        "x = a" + ".b" * 20000,
        "x = " + "[" * 90 + "]" * 90 + "\n" + "x = [[[[x]]]]\n" * 500,
        "x = [0 for a in range(1000) for b in range(1000) for c in range(1000)]",
        "for i in range(1000):\n for j in range(1000):\n  for k in range(1000):\n   x = i",
        "x = '" + "a" * 5_000_000 + "'",
        "x = " + "9" * 10_000,
    ],
)
def test_texts_that_grow_or_nest_without_end_are_refused_soon(text):
    begin = time.process_time()
    with pytest.raises(UserError) as caught:
        read_text(text, "config.py")
    assert time.process_time() - begin < 10
    assert len(str(caught.value)) < 400


def _write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "child.py"


def test_a_child_changes_what_it_builds_on(tmp_path):
    child = _write(
        tmp_path,
        base__model="norm = dict(type='BN')\n"
        "model = dict(neck=dict(type='FPN', norm=norm, outs=5), heads=[1, 2], old=3)",
        base__data="pipeline = [dict(type='Resize', scale=(4, 3))]",
        child="""
_base_ = ['base/model.py', './base/data.py']
norm = dict(type='GN')
model = dict(neck=dict(norm=norm), heads=[3], old=dict(_delete_=True, a=1), new=dict(b=dict(_delete_=True, c=1)))
kept = {{_base_.model.neck.outs}}
pipeline = _base_.pipeline + [dict(type='Pad')]
""",
    )
    found, notes = read(child)
    assert notes == []
    assert found == {
        "norm": {"type": "GN"},
        "model": {
            "neck": {"type": "FPN", "norm": {"type": "GN"}, "outs": 5},
            "heads": [3],
            "old": {"a": 1},
            "new": {"b": {"c": 1}},
        },
        "pipeline": [{"type": "Resize", "scale": [4, 3]}, {"type": "Pad"}],
        "kept": 5,
    }


def test_a_child_may_change_its_base_in_place(tmp_path):
    child = _write(
        tmp_path,
        base="model = dict(a=dict(b=1, c=2), d=4)",
        child="_base_ = 'base.py'\npart = _base_.model\npart.a.update(dict(b=5))\npart.pop('d')\n"
        "model = dict(_delete_=True, x=part)",
    )
    assert read(child)[0]["model"] == {"x": {"a": {"b": 5, "c": 2}}}


def test_inheritance_by_imports(tmp_path):
    child = _write(
        tmp_path,
        base__model="from mmdet.models import ResNet\n"
        "model = dict(body=dict(type=ResNet, depth=50), heads=[dict(a=1)], z=1)",
        child="""
from mmengine.config import read_base
with read_base():
    from .base.model import *
    from .base.model import model as second
model.update(dict(body=dict(depth=101)))
model.heads[0].merge(dict(_delete_=True, b=2))
""",
    )
    found = read(child)[0]
    assert found["model"] == {"body": {"type": "ResNet", "depth": 101}, "heads": [{"b": 2}], "z": 1}
    assert found["second"]["body"]["depth"] == 50


def test_values_that_files_share_are_set_by_value(tmp_path):
    child = _write(
        tmp_path,
        base="norm = dict(type='BN')\nmodel = dict(a=norm, b=norm)",
        child="_base_ = 'base.py'\n_base_.model.a.type = 'GN'",
    )
    assert read(child)[0] == {"norm": {"type": "BN"}, "model": {"a": {"type": "GN"}, "b": {"type": "BN"}}}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"child": "_base_ = 'a.py'", "a": "_base_ = 'child.py'"}, r"child\.py: builds on itself via child\.py"),
        ({"child": "_base_ = 'child.py'"}, r"child\.py: builds on itself via child\.py"),
        ({"child": "_base_ = ['a.py', 'b.py']", "a": "x = 1", "b": "x = 1"}, "two files that both define 'x'"),
        ({"child": "_base_ = 'a.py'", "a": "y = 1\nx = z"}, r"a\.py: line 2 holds 'z'"),
        ({"child": "_base_ = '../a.py'"}, r"child\.py: builds on \.\./a\.py, which does not exist; put it there"),
        ({"child": "_base_ = 'mmdet::a/b.py'"}, r"builds on mmdet::a/b\.py, which does not exist"),
        (
            {f"f{k}": f"_base_ = 'f{k + 1}.py'" for k in range(40)} | {"child": "_base_ = 'f0.py'"},
            "builds on itself via",
        ),
        (
            {f"f{k}": f"_base_ = ['f{k + 1}.py'] * 2" for k in range(15)} | {"child": "_base_ = 'f0.py'", "f15": ""},
            "more values than any config needs",
        ),
    ],
)
def test_chains_that_cannot_be_read_name_the_file(tmp_path, files, message):
    child = _write(tmp_path, **files)
    with pytest.raises(UserError, match=message) as caught:
        read(child)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("give the flat config") == 1


def test_what_is_published_stands_in_for_a_file_that_is_not_there(tmp_path):
    child = _write(
        tmp_path,
        child="_base_ = ['../_base_/models/some_fpn.py', '../_base_/datasets/coco_detection.py', "
        "'../_base_/schedules/schedule_1x.py', '../_base_/default_runtime.py']\nmodel = dict(depth=101)",
        whole="_base_ = '../x/some_fpn_1x_coco.py'\nmodel = dict(depth=18)",
    )
    table = {"some_fpn_1x_coco": {"model": {"type": "A", "depth": 50}, "more": 1}}
    found, notes = read(child, table.get)
    assert found == {"model": {"type": "A", "depth": 101}, "dataset_type": "CocoDataset"}
    assert notes == ["../_base_/models/some_fpn.py does not exist; the settings of the published detector are used"]
    assert read(tmp_path / "whole.py", table.get)[0] == {"model": {"type": "A", "depth": 18}, "more": 1}
    assert table["some_fpn_1x_coco"]["model"]["depth"] == 50


def test_nothing_is_imported(tmp_path):
    (tmp_path / "evil.py").write_text("raise SystemExit")
    read_text("import evil\nfrom evil import x\nmodel = dict(type=x, y=evil.run(1))", str(tmp_path / "config.py"))
    assert "evil" not in sys.modules
