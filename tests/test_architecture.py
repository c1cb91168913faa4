"""Properties of the package as a whole: nothing compiled, nothing undeclared, no heavy import before it is needed."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import cascade_rcnn

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {path.name for path in (ROOT / "src").iterdir() if (path / "__init__.py").is_file()}
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_the_package_is_pure_python():
    files = [path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    code = [path for path in files if "assets" not in path.parts]  # a detector, images and their licences
    pages = {path for path in code if path.parent.name == "pages"}
    assert {path.suffix for path in pages} == {".py", ".j2", ".css", ".js"}  # of HTML pages
    assert {path.suffix for path in set(code) - pages} == {".py", ".typed"}


def test_every_folder_of_code_is_a_package():
    assert {path.parent for path in SOURCES} == {path.parent for path in SOURCES if path.name == "__init__.py"}


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [entry for group in project.get("optional-dependencies", {}).values() for entry in group]
    declared = {normal(re.split(r"[^\w.-]", entry)[0]) for entry in [*project["dependencies"], *extras]}
    providers = packages_distributions()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import"
                names = [node.module or ""]
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names - PACKAGES:
                # The module of an extra that is not installed is identified by its own name.
                offered = {normal(distribution) for distribution in providers.get(top, [top])}
                assert offered & declared, f"{path}: {top} is not among the dependencies"


def test_every_package_is_in_the_wheel():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(wheel["packages"]) == {f"src/{name}" for name in PACKAGES}
    assert all((ROOT / "src" / name / "py.typed").is_file() for name in PACKAGES)


def test_help_comes_without_torch_or_the_study():
    code = """
import sys
from cascade_rcnn.cli import main
sys.argv = ["cascade-rcnn", "--help"]
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
late = {"torch", "cascade_rcnn_study"} & sys.modules.keys()
assert not late, f"{late} imported"
"""
    assert "train" in run(code)


def test_public_names_exist_and_load_late():
    assert all(getattr(cascade_rcnn, name) is not None for name in cascade_rcnn.__all__)
    assert run("import sys, cascade_rcnn; print('torch' in sys.modules)").strip() == "False"
