import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cascade_rcnn


def test_every_public_name_is_there_and_no_other_is_promised():
    for name in cascade_rcnn.__all__:
        assert getattr(cascade_rcnn, name) is not None
    assert set(cascade_rcnn._HOMES) == set(cascade_rcnn.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cascade_rcnn.nothing


def test_what_the_runtime_s_distribution_lacks_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "cascade_rcnn.models.checkpoint", None)  # as if it were not installed
    with pytest.raises(
        ImportError, match=r"cascade_rcnn\.load is not in cascade-rcnn-runtime, which only runs exported"
    ):
        _ = cascade_rcnn.load


def test_dir_lists_them_before_they_are_loaded():
    assert set(cascade_rcnn.__all__) <= set(dir(cascade_rcnn))
    assert "__version__" in dir(cascade_rcnn)
    code = "import sys, cascade_rcnn; assert 'train' in dir(cascade_rcnn); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_type_checkers_and_programs_see_the_same_names():
    """The imports under `TYPE_CHECKING` match `_HOMES`, and their modules define those names."""
    tree = ast.parse(Path(cascade_rcnn.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: (node.module or "").removeprefix("cascade_rcnn.") for node in imports for alias in node.names}
    assert homes == cascade_rcnn._HOMES
