"""The notebooks of the documentation: run them and keep what they show, `python -m tools.notebooks [NAME ...]`."""

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

_PROGRESS = re.compile(r"^(.*\b(\d+)/(\d+)(?:  loss \S+)?)  [\d.]+ images/s .*\n", re.M)
FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook from its first cell in a fresh kernel, in `folder`; raises CellExecutionError where it fails."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=900, resources=place, record_timing=False, coalesce_streams=True).execute()
    return notebook


def clean(notebook: nbformat.NotebookNode) -> None:
    """Remove metadata of the editor, pictures in a second format, and how fast the machine was."""
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            if "image/jpeg" in output.get("data", {}):
                output.data.pop("image/png", None)
            if output.get("name") == "stderr":
                output.text = _PROGRESS.sub(_completed, output.text)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})


def _completed(line: re.Match[str]) -> str:
    """Keep a line of progress if all is done, without its speed."""
    return f"{line[1]}\n" if line[2] == line[3] else ""


def main(names: list[str]) -> None:
    """Run the notebooks, all or those named, and write them with their outputs."""
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        clean(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
