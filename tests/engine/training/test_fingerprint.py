import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from cascade_rcnn.config import Category
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.data.annotations import PackedStrings
from cascade_rcnn.engine.training.fingerprint import check_same, fingerprint
from cascade_rcnn.errors import UserError


@pytest.fixture
def annotations(shapes: Path) -> Annotations:
    return load_annotations(shapes / "train.json")


def test_where_the_data_lies_does_not_matter(shapes, annotations, tmp_path):
    shutil.copytree(shapes, tmp_path / "moved")
    there = load_annotations(tmp_path / "moved" / "train.json")
    assert there.source != annotations.source
    assert fingerprint(there, there) == fingerprint(annotations, annotations)
    absolute = [str(annotations.path(i)) for i in range(len(annotations))]
    elsewhere = dataclasses.replace(annotations, file_names=PackedStrings.pack(absolute), images_dir=Path("/"))
    assert fingerprint(elsewhere, None) == fingerprint(annotations, None)


def changed(annotations: Annotations, what: str) -> Annotations:
    categories = list(annotations.categories)
    boxes = annotations.boxes.clone()
    boxes[3, 2] += 1
    names = [annotations.file_names[i] for i in range(len(annotations))]
    names[0], names[1] = names[1], names[0]
    match what:
        case "two names swapped":
            first, second = categories[:2]
            categories[:2] = [Category(id=first.id, name=second.name), Category(id=second.id, name=first.name)]
            return dataclasses.replace(annotations, categories=tuple(categories))
        case "a class more":
            return dataclasses.replace(annotations, categories=(*categories, Category(id=99, name="moon")))
        case "images swapped":
            return dataclasses.replace(annotations, file_names=PackedStrings.pack(names))
        case "a box wider":
            return dataclasses.replace(annotations, boxes=boxes)
        case _:
            return dataclasses.replace(annotations, ignore=~annotations.ignore)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("two names swapped", "classes have changed .* (still 4, but with other content)"),
        ("a class more", "classes have changed .* (now 5, then 4)"),
        ("images swapped", "images have changed .* (still 13, but with other content)"),
        ("a box wider", "boxes have changed"),
        ("crowds", "boxes have changed"),
    ],
)
@pytest.mark.parametrize("split", ["training", "validation"])
def test_every_change_of_the_content_is_named(annotations, what, kind, split):
    other = changed(annotations, what)
    sets = (other, annotations) if split == "training" else (annotations, other)
    pattern = f"run: the {split} {kind}".replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(UserError, match=pattern) as error:
        check_same(fingerprint(annotations, annotations), fingerprint(*sets), Path("run"))
    assert "\n" not in str(error.value)


def test_fewer_images_and_a_missing_validation_set_are_named(shapes, annotations, tmp_path):
    truth = json.loads((shapes / "train.json").read_text())
    truth["images"] = truth["images"][:8]
    kept = {image["id"] for image in truth["images"]}
    truth["annotations"] = [row for row in truth["annotations"] if row["image_id"] in kept]
    (tmp_path / "fewer.json").write_text(json.dumps(truth))
    fewer = load_annotations(tmp_path / "fewer.json", shapes / "images")
    before = fingerprint(annotations, annotations)
    with pytest.raises(UserError, match=r"training images .* \(now 8, then 13\)"):
        check_same(before, fingerprint(fewer, annotations), Path("run"))
    with pytest.raises(UserError, match=r"validation classes .* \(now 0, then 4\)"):
        check_same(before, fingerprint(annotations, None), Path("run"))
    check_same(before, fingerprint(annotations, annotations), Path("run"))


def test_it_survives_the_state_s_file(annotations, tmp_path):
    mark = fingerprint(annotations, None)
    torch.save(mark, tmp_path / "mark")
    assert torch.load(tmp_path / "mark", weights_only=True) == mark


def test_masks_are_marked_where_they_are_read(outlined, tmp_path):
    data = outlined(0)
    read = [load_annotations(data.train, data.train_images, masks=masks) for masks in (False, True)]
    without, before = (fingerprint(one, None) for one in read)
    assert without == {name: mark for name, mark in before.items() if name != "training masks"}
    content = json.loads(Path(data.train).read_text())
    indented = tmp_path / "indented.json"
    indented.write_text(json.dumps(content, indent=2))
    check_same(before, fingerprint(load_annotations(indented, data.train_images, masks=True), None), Path("run"))
    content["annotations"][1]["segmentation"][0][0] += 1
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"the training masks have changed .* but with other content"):
        check_same(before, fingerprint(load_annotations(changed, data.train_images, masks=True), None), Path("run"))
    read = load_annotations(outlined(1).train, data.train_images, masks=True)
    number = len(read.boxes)
    with pytest.raises(UserError, match=rf"the training masks have changed .* \(now {number - 1}, then {number}\)"):
        check_same(before, fingerprint(read, None), Path("run"))
