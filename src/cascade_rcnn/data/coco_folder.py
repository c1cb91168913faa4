"""Folders that hold COCO files: Roboflow's, COCO's own, CVAT's, Label Studio's, and several files side by side."""

import re
from pathlib import Path

from cascade_rcnn.text_files import check_regular

_ROBOFLOW = "_annotations.coco.json"
_KEYS = re.compile(rb'"(images|annotations)"\s*:\s*\[')
_HEAD = 2**20  # bytes in which a COCO file names one of these keys


def coco_files(folder: Path) -> dict[str, Path]:
    """The COCO files of a dataset by their splits: a folder in each split, or files called after it."""
    in_folders = {path.parent.name: path for path in sorted(folder.glob(f"[!.]*/{_ROBOFLOW}"))}
    if in_folders:
        return in_folders
    for place in (folder / "annotations", folder):
        instances = sorted(place.glob("instances_*.json"))
        files = instances or [path for path in sorted(place.glob("[!.]*.json")) if _is_coco(path)]
        if files:
            return {path.stem.removeprefix("instances_"): path for path in files}
    return {}


def _is_coco(path: Path) -> bool:
    """By its beginning: other json files lie beside (notes, results, settings)."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError):
        return False
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and _KEYS.search(head) is not None
