"""Defects of circuit boards: DeepPCB as COCO files.

    python -m benchmarks.boards DeepPCB/PCBData boards

DeepPCB (Tang et al. 2019, github.com/tangsanli5201/DeepPCB, for research only) has 640 x 640 pixel images of boards,
with six kinds of defects, and lists 1,000 of them for training and 500 for testing.
"""

import json
import shutil
from pathlib import Path

import tyro
from tyro.conf import Positional

_SIDE = 640  # of the images, in pixels
_KINDS = ("open", "short", "mousebite", "spur", "copper", "pin-hole")  # in the files, from 1 on
_LISTS = {"train": "trainval.txt", "val": "test.txt"}


def data(source: Positional[Path], output: Positional[Path]) -> None:
    """Write images/, train.json and val.json from the folder of DeepPCB that has the lists of images."""
    (output / "images").mkdir(parents=True, exist_ok=True)
    categories = [{"id": number, "name": name} for number, name in enumerate(_KINDS, start=1)]
    for split, listed in _LISTS.items():
        file = {"images": [], "annotations": [], "categories": categories}
        for line in (source / listed).read_text().splitlines():
            image, text = (source / name for name in line.split())
            name = f"{image.stem}.jpg"
            shutil.copyfile(image.with_name(f"{image.stem}_test.jpg"), output / "images" / name)
            number = len(file["images"]) + 1
            file["images"].append({"id": number, "file_name": name, "width": _SIDE, "height": _SIDE})
            for row in text.read_text().splitlines():
                one = {"id": len(file["annotations"]) + 1, "image_id": number, "iscrowd": 0, **_object(row)}
                file["annotations"].append(one)
        (output / f"{split}.json").write_text(json.dumps(file))
        print(f"{split}: {len(file['images'])} images, {len(file['annotations'])} defects")


def _object(row: str) -> dict:
    """Read a line of a file with annotations, "x1 y1 x2 y2 kind"."""
    left, top, right, bottom, kind = map(int, row.split())
    return {
        "category_id": kind,
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
    }


if __name__ == "__main__":
    tyro.cli(data, description=__doc__)
