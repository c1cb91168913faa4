"""The runtime's own wheel, installed without torch, finds what the detector finds."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from cascade_rcnn import export_model, load
from cascade_rcnn.assets import PHOTO
from cascade_rcnn.text import count

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    """Run a command without this environment's packages, and return its output."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the command folder of a fresh environment that has only the wheel."""
    folder = tmp_path_factory.mktemp("installed")
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, "./packaging/runtime")
    run(sys.executable, *build, cwd=ROOT)
    (wheel,) = folder.glob("cascade_rcnn_runtime-*.whl")
    venv.create(folder / "venv", with_pip=True)
    commands = folder / "venv" / "bin"
    run(commands / "python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return commands


@pytest.mark.timeout(900)
def test_it_finds_the_same_boxes_without_torch(environment: Path, tmp_path: Path):
    run(environment / "python", "-m", "pip", "check", cwd=tmp_path)
    absent = "import importlib.util as u; print([name for name in ('torch', 'torchvision') if u.find_spec(name)])"
    assert run(environment / "python", "-c", absent, cwd=tmp_path) == "[]\n"

    expected = load("starter").predict(PHOTO, threshold=0.5)
    export_model("starter", tmp_path / "starter.onnx", size=(320, 416))  # the padded size of the photo itself
    command = (environment / "cascade-rcnn-runtime", "starter.onnx", PHOTO, "--threshold", 0.5)
    said = run(*command, cwd=tmp_path)
    found = json.loads((tmp_path / "detections.json").read_text())

    assert len(expected) >= 3
    assert said == f"{count(len(expected), 'detection')}: detections.json\n"
    boxes = np.array([one["bbox"] for one in found])
    boxes[:, 2:] += boxes[:, :2]
    np.testing.assert_allclose(boxes, expected.xyxy, atol=0.1)
    np.testing.assert_allclose([one["score"] for one in found], expected.confidence, atol=1e-3)
    assert {one["category_name"] for one in found} == {"person"}
