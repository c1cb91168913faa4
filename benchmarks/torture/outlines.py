"""Damaged outlines in a COCO file, read as in training with masks, and crowded images within a memory limit.

An accepted outline must have the same pixels as in pycocotools; others must be named in a note. An object whose outline
is unchanged must keep its mask.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
import torch

from benchmarks.measure import fresh, peak_mb
from benchmarks.torture.annotations import coco_boxes, coco_example, write_images, wrong
from benchmarks.torture.areas import Case
from benchmarks.torture.mutations import Random, mutate_bytes, mutate_tree, one
from benchmarks.torture.outcomes import Outcome, Tally, Verdict
from cascade_rcnn.data import Annotations, load_annotations

Form = list[list[float]] | dict[str, Any]
reference: Any = pycocotools.mask  # its type annotations cover only one kind of outline
_MOST_MB = 3000  # memory limit for a crowded image, whose dense masks alone would take 12 GB
_CROWDED = (3000, 4000, 1000)  # height, width, objects


def _form(random: Random, box: list[float], size: tuple[int, int]) -> Form:
    """Return an ellipse in a box as one or two polygons, or as run lengths, compressed or not."""
    x, y, w, h = box
    angles = np.linspace(0, 2 * np.pi, 17)[:-1]
    points = np.stack([x + w / 2 + w / 2 * np.cos(angles), y + h / 2 + h / 2 * np.sin(angles)], axis=1)
    polygon = points.round(2).ravel().tolist()
    match one(random, ("polygon", "polygons", "runs", "counts")):
        case "polygon":
            return [polygon]
        case "polygons":
            return [polygon, [x, y, x + w / 2, y, x, y + h / 2]]
        case "runs":
            runs = reference.merge(reference.frPyObjects([polygon], *size))
            return {"size": list(size), "counts": runs["counts"].decode()}
        case _:
            pixels = reference.decode(reference.merge(reference.frPyObjects([polygon], *size))).ravel(order="F")
            changes = np.flatnonzero(np.diff(pixels, prepend=0))
            return {"size": list(size), "counts": np.diff(changes, prepend=0, append=len(pixels)).tolist()}


def _pixels(form: Form, height: int, width: int) -> np.ndarray:
    """Return the mask of a valid outline, computed by pycocotools."""
    if isinstance(form, list):
        polygons = [polygon for polygon in form if len(polygon) >= 6]
        return reference.decode(reference.merge(reference.frPyObjects(polygons, height, width)))
    runs = form if isinstance(form["counts"], str) else reference.frPyObjects(form, height, width)
    return reference.decode(runs)


class Outlines:
    """A COCO JSON file whose objects have outlines."""

    name = "annotations: COCO, with masks"

    def prepare(self, folder: Path) -> None:
        """Write three images and prepare a file for them."""
        write_images(folder)
        random, self.good = np.random.default_rng(0), coco_example()
        sizes = {image["id"]: (image["height"], image["width"]) for image in self.good["images"]}
        for row in self.good["annotations"]:
            row["segmentation"] = _form(random, row["bbox"], sizes[row["image_id"]])

    def case(self, random: Random, folder: Path) -> Case:
        """Change a value or bytes of an outline."""
        tree = copy.deepcopy(self.good)
        row = one(random, tree["annotations"])
        if random.random() < 0.6:
            what, changed = mutate_tree(random, {"segmentation": row["segmentation"]})
            text = json.dumps(changed["segmentation"]) if "segmentation" in changed else "null"
        else:
            what, data = mutate_bytes(random, json.dumps(row["segmentation"]).encode())
            text = data.decode("latin-1")
        row["segmentation"] = "HERE"
        path = folder / "case.json"
        path.write_bytes(json.dumps(tree).replace('"HERE"', text).encode("latin-1", "replace"))

        def run() -> str | None:
            found = load_annotations(path, masks=True)
            plain = json.loads(path.read_bytes().decode("utf-8-sig", "replace"))
            return wrong(found, *coco_boxes(plain)) or self._wrong_masks(found, plain)

        return f"{row['id']}: {what}", run

    def _wrong_masks(self, found: Annotations, tree: dict[str, Any]) -> str | None:
        """Describe what is wrong with the masks of objects, which are identified by their ids; None if nothing is."""
        good = {row["id"]: row["segmentation"] for row in self.good["annotations"]}
        given = {row["id"]: row.get("segmentation") for row in tree["annotations"] if isinstance(row.get("id"), int)}
        if found.segmentations is None:
            return "no object has a mask" if any(_same(given.get(key), form) for key, form in good.items()) else None
        has = found.segmentations.has()
        for i, (height, width) in enumerate(found.image_sizes.tolist()):
            rows = range(found.rows(i).start, found.rows(i).stop)
            masks = found.segmentations.masks(rows, height, width)
            for number, row in enumerate(rows):
                key = int(found.ids[row])
                if not has[row]:
                    if _same(given.get(key), good.get(key)) or not found.notes:
                        return f"object {key} has lost its mask"
                    continue
                pixels = masks.dense(torch.tensor([number]))[0].numpy()
                if (pixels != _pixels(given[key], height, width)).any():
                    return f"object {key} has other pixels than in pycocotools"
        return None


def _same(one: Any, other: Any) -> bool:
    """Return whether two outlines have the same JSON; Python's == would treat true as 1."""
    return json.dumps(one) == json.dumps(other)


def crowded(number: int) -> Tally:
    """Process large images with very many objects: each kind of work `number` times, in separate processes."""
    tally = Tally("crowded images, with masks")
    for work in WORK:
        for seed in range(number):
            case = f"{work} {seed}"
            found = fresh(crowd, work=work, seed=seed)
            said = found["wrong"] or (f"{found['peak']:.0f} MB" if found["peak"] > _MOST_MB else "")
            tally.add(Verdict(case, Outcome.WRONG if said else Outcome.RIGHT, said))
    return tally


def crowd(work: str, seed: int) -> dict[str, Any]:
    """Do one kind of work on a crowded image in this process; return what is wrong, and the peak memory in MB."""
    return {"wrong": WORK[work](np.random.default_rng(seed)), "peak": peak_mb()}


def _boxes(random: Random) -> np.ndarray:
    """Return boxes (N, 4) XYWH, most of them large and overlapping."""
    height, width, number = _CROWDED
    sides = random.uniform(40, 1500, (number, 2))
    corner = random.uniform(0, 1, (number, 2)) * (np.array([width, height]) - sides)
    return np.concatenate([corner, sides], axis=1).round(2)


def _read(random: Random) -> str | None:
    """Read the image, then flip, scale, crop and copy-paste."""
    import tempfile

    import PIL.Image

    from cascade_rcnn.config.augmentation_lists import parse
    from cascade_rcnn.data.augmentation.build import build_augmentation
    from cascade_rcnn.data.dataset import Dataset

    height, width, number = _CROWDED
    boxes = _boxes(random)
    forms = [_form(random, box, (height, width)) for box in boxes.tolist()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        PIL.Image.fromarray(random.integers(0, 256, (height // 10, width // 10, 3), np.uint8)).resize(
            (width, height)
        ).save(folder / "crowd.jpg")
        rows = [
            {"id": k, "image_id": 1, "category_id": 1, "bbox": box, "area": 1.0, "iscrowd": int(k % 50 == 0),
             "segmentation": form}
            for k, (box, form) in enumerate(zip(boxes.tolist(), forms, strict=True), start=1)
        ]  # fmt: skip
        image = {"id": 1, "file_name": "crowd.jpg", "width": width, "height": height}
        content = {"images": [image], "annotations": rows, "categories": [{"id": 1, "name": "disc"}]}
        (folder / "crowd.json").write_text(json.dumps(content))
        words = ("horizontal_flip:probability=1", "copy_paste:probability=1", "scale_jitter:scale=0.5..1,size=2048")
        data = Dataset(load_annotations(folder / "crowd.json", folder, masks=True))
        whole = data[0][1]["masks"]
        for k in random.integers(0, number, 20).tolist():
            if (whole.dense(torch.tensor([k]))[0].numpy() != _pixels(forms[k], height, width)).any():
                return f"object {k} has other pixels than in pycocotools"
        _, target = data.with_transforms(build_augmentation(parse(list(words))))[0]
        far = (target["masks"].boxes() - target["boxes"]).abs().amax(1)[target["iscrowd"] == 0]
        return None if float(far.median()) < 2 else "masks and boxes no longer match"


def _learn(random: Random) -> str | None:
    """Compute the mask targets of 512 regions."""
    from cascade_rcnn.masks import Masks
    from cascade_rcnn.tasks.mask_targets import mask_targets

    height, width, number = _CROWDED
    boxes = _boxes(random).astype(int)
    boxes[:, 2:] += boxes[:, :2]
    crops = (((x, y), np.ones((y_end - y, x_end - x), np.bool_)) for x, y, x_end, y_end in boxes.tolist())
    masks = Masks.build((height, width), crops)
    chosen = torch.from_numpy(random.integers(0, number, 512))
    own = torch.from_numpy(boxes).float()[chosen]
    found = mask_targets([masks], torch.zeros(512, dtype=torch.int64), chosen, own, 28, soft=False)
    return None if bool((found == 1).all()) else "a region inside an object has pixels outside it"


def _paste(random: Random) -> str | None:
    """Paste and encode the masks of the same number of detections."""
    from cascade_rcnn.data.segmentations import run_lengths
    from cascade_rcnn.pasting import paste_encoded

    height, width, number = _CROWDED
    boxes = torch.from_numpy(_boxes(random)).float()
    boxes[:, 2:] += boxes[:, :2]
    masks = paste_encoded(torch.ones(number, 28, 28), boxes, height, width)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    apart = (torch.tensor([float(reference.area(one)) for one in run_lengths(masks)]) / areas - 1).abs()
    return None if float(apart.max()) < 0.1 else "a mask does not fill its box"


WORK: dict[str, Callable[[Random], str | None]] = {
    "reading and augmenting": _read,
    "targets of a training step": _learn,
    "pasting detections": _paste,
}
