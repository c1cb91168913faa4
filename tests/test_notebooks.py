"""The notebooks: each runs from start to end, uses only the public API, and shows what it computed."""

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
import yaml

import cascade_rcnn
from tools.notebooks import FOLDER, clean, execute

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PUBLIC = {"cascade_rcnn.assets", "cascade_rcnn.ray", "cascade_rcnn.runtime", "cascade_rcnn.serving"}
# A user's own folders:
MACHINE = re.compile(r"(?<![\w.~-])/(?:home|root|opt|tmp|usr|var|work|mnt|Users)/|\b[A-Z]:\\")
LARGEST = 200_000  # bytes

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(notebook: nbformat.NotebookNode) -> ast.Module:
    """Return all code of a notebook, without its magics."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return ast.parse(re.sub(r"^%.*$", "", "\n".join(sources), flags=re.M))


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Return everything that a reader sees, except pictures."""
    found = [cell.source for cell in notebook.cells]
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        found += [output.get("text", "")]
        found += [str(value) for kind, value in output.get("data", {}).items() if not kind.startswith("image/")]
    return found


def offers(module: str, name: str) -> bool:
    """Return whether a module has a public name, or a submodule of that name."""
    found = import_module(module)
    if module.partition(".")[0] == "cascade_rcnn":
        return name in found.__all__
    return hasattr(found, name) or (hasattr(found, "__path__") and find_spec(f"{module}.{name}") is not None)


def private(tree: ast.Module) -> list[str]:
    """Return the non-public names of the package that the code uses, and modules that do not exist."""
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
            faults += [name for name in modules if name.startswith("cascade_rcnn.") and name not in PUBLIC]
            faults += [name for name in modules if find_spec(name.partition(".")[0]) is None]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            ours = module.partition(".")[0] == "cascade_rcnn"
            if ours and module != "cascade_rcnn" and module not in PUBLIC:
                faults.append(module)
            else:
                faults += [f"{module}.{alias.name}" for alias in node.names if not offers(module, alias.name)]
        elif isinstance(node, ast.Attribute):
            of_package = isinstance(node.value, ast.Name) and node.value.id == "cascade_rcnn"
            if (of_package and node.attr not in cascade_rcnn.__all__) or re.match(r"_(?!_)", node.attr):
                faults.append(ast.unparse(node))
    return faults


def test_they_are_there_and_on_the_site():
    site = (FOLDER.parents[1] / "mkdocs.yml").read_text()
    listed = re.findall(r"notebooks/(\w+)\.ipynb", str(yaml.safe_load(site)["nav"]))
    assert sorted(listed) == [path.stem for path in NOTEBOOKS]
    assert len(NOTEBOOKS) >= 5


@each
def test_it_is_valid_small_and_was_run_in_order(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    assert path.stat().st_size < LARGEST
    cleaned = nbformat.read(path, as_version=4)
    clean(cleaned)
    assert cleaned == notebook  # nothing from an editor or a machine


@each
def test_it_says_what_to_install_and_names_nobodys_folders(path: Path):
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \w", first.source)
    assert "pip install torch torchvision" in first.source
    assert not [text for text in texts(notebook) if MACHINE.search(text)]


@each
def test_it_uses_the_public_api_alone(path: Path):
    assert private(code(nbformat.read(path, as_version=4))) == []


def test_what_is_private_or_missing_is_found():
    tree = ast.parse(
        "import numpy, no_such_module\nfrom cascade_rcnn.models.trace import trace\n"
        "from cascade_rcnn.assets import PHOTO, PUBLISHED\nimport cascade_rcnn.heads\nfrom math import nothing\n"
        "cascade_rcnn.train.__doc__, cascade_rcnn.models, model._fold()\n"
    )
    assert sorted(private(tree)) == [
        "cascade_rcnn.assets.PUBLISHED",
        "cascade_rcnn.heads",
        "cascade_rcnn.models",
        "cascade_rcnn.models.trace",
        "math.nothing",
        "model._fold",
        "no_such_module",
    ]
    assert MACHINE.search("in /home/ann/photos")
    assert not MACHINE.search("docs/../home/page, https://example.org/home/page, runs/opt/x")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # from the kernel's client
@each
def test_it_runs(path: Path, tmp_path: Path):
    before = nbformat.read(path, as_version=4)
    after = execute(path, tmp_path)
    shown = [[bool(cell.get("outputs")) for cell in notebook.cells] for notebook in (before, after)]
    assert shown[0] == shown[1]
