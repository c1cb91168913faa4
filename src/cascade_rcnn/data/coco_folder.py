"""Folders of COCO files, as exported by Roboflow, CVAT and other tools, laid out as in COCO, or side by side."""

import re
from pathlib import Path

from cascade_rcnn.data.foreign import head_of, tool_of
from cascade_rcnn.data.splits import is_split

_ROBOFLOW = "_annotations.coco.json"
_KEYS = re.compile(rb'"(images|annotations)"\s*:\s*\[')  # in the head of a COCO file


def coco_files(folder: Path) -> dict[str, Path]:
    """Return the COCO files of a dataset by split: one in a folder per split, or files named after the splits."""
    in_folders = {path.parent.name: path for path in sorted(folder.glob(f"[!.]*/{_ROBOFLOW}"))}
    if in_folders:
        return in_folders
    for place in (folder / "annotations", folder):
        instances = sorted(place.glob("instances_*.json"))
        files = instances or [path for path in sorted(place.glob("[!.]*.json")) if _is_coco(path)]
        if files:
            return {path.stem.removeprefix("instances_"): path for path in files}
    splits = [path for path in sorted(folder.glob("[!.]*")) if path.is_dir() and is_split(path.name)]
    in_splits = {path.name: [file for file in sorted(path.glob("[!.]*.json")) if _is_coco(file)] for path in splits}
    return {split: files[0] for split, files in in_splits.items() if len(files) == 1}


def _is_coco(path: Path) -> bool:
    """Return whether a file begins like a COCO file: there may be other JSON files beside it (results, settings)."""
    head = head_of(path)
    is_object = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    return is_object and _KEYS.search(head) is not None and tool_of(head) is None
