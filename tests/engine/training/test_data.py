"""Training data, with masks where the model learns them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from cascade_rcnn.data import load_annotations
from cascade_rcnn.engine.training.data import Sources, TrainingData
from cascade_rcnn.engine.training.data import read_data as read_recipe_data
from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks
from cascade_rcnn.recipes import DataConfig, Recipe


def read_data(data: DataConfig, sources: Sources | None = None, **settings: bool) -> TrainingData:
    return read_recipe_data(Recipe(data=data, workers=0), sources, **settings)


def test_masks_are_read_when_they_are_learnt(outlined, shapes):
    data = outlined(0)
    assert "masks" not in read_data(data, shown=False).train[0, 1][1]
    read = read_data(data, masks=True, shown=False)
    assert read.val is not None
    assert read.val.annotations.segmentations is not None
    _, target = read.train[0, 1]
    boxes, found = target["boxes"], target["masks"].boxes()
    assert found.equal(boxes.round())  # image and masks are flipped together
    assert not any("mask AP" in note for note in read.notes)
    without = replace(data, val=str(shapes / "val.json"))
    assert read_data(without, masks=True, shown=False).notes[-1].endswith("so mask AP is not measured")


def test_a_few_objects_without_masks_are_noted_and_ignored(outlined):
    read = read_data(outlined(2), masks=True, shown=False)
    assert any("2 of " in note and "objects have no segmentation" in note for note in read.notes)
    _, target = read.train[0, 1]
    assert target["iscrowd"].tolist() == [1, 1, *[0] * (len(target["boxes"]) - 2)]


def test_annotations_without_any_mask_are_refused_before_training_starts(outlined):
    data = outlined(10_000)
    number = len(load_annotations(data.train, data.train_images).boxes)
    message = f"train.json: none of its {number} objects has a mask to learn from; give polygons or run lengths"
    with pytest.raises(UserError, match=message) as caught:
        read_data(data, masks=True, shown=False)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="has a mask to learn from"):
        read_data(replace(data, train=""), Sources(train=load_annotations(data.train, data.train_images)), masks=True)


def test_a_validation_image_that_does_not_decode_is_left_out_like_any_other_bad_one(shapes, tmp_path):
    folder = tmp_path / "shapes"
    shutil.copytree(shapes, folder)
    for split in ("train", "val"):
        file = folder / "images" / split / "000002.png"
        whole = file.read_bytes()
        at = whole.index(b"IDAT") + 12
        file.write_bytes(whole[:at] + bytes(8) + whole[at + 8 :])
    data = DataConfig(train=str(folder / "train.json"), val=str(folder / "val.json"), bad_images="skip")
    read = read_data(data, shown=False)
    assert read.val is not None
    assert len(read.train) == 13  # the next one stands in for it
    assert len(read.val) == 4
    assert "000002.png: cannot open" in read.val.annotations.notes[-1]
    assert len(read_data(replace(data, bad_images="stop"), shown=False).val or ()) == 5


def test_boxes_that_are_all_ignored_are_nothing_to_learn_from(shapes, tmp_path):
    content = json.loads((shapes / "train.json").read_text())
    for row in content["annotations"]:
        row["iscrowd"] = 1
    path = tmp_path / "crowds.json"
    path.write_text(json.dumps(content))
    number = len(content["annotations"])
    data = DataConfig(train=str(path), train_images=str(shapes / "images"))
    with pytest.raises(UserError, match=f"crowds.json: there are no boxes to learn from, as all {number} are crowds"):
        read_data(data, shown=False)
    content["annotations"][0]["iscrowd"] = 0
    path.write_text(json.dumps(content))
    notes = read_data(data, shown=False).notes
    assert any(f"{number - 1} of {number} boxes are crowds or difficult; they are ignored" in note for note in notes)


@pytest.mark.parametrize("user", ["train", "val", "neither"])
@pytest.mark.parametrize("loaded", [True, False])
def test_both_sets_have_roboflows_grouping_class_if_one_uses_it(shapes, tmp_path, user, loaded):
    paths = {}
    for split in ("train", "val"):
        content = json.loads((shapes / f"{split}.json").read_text())
        for category in content["categories"]:
            category["supercategory"] = "all"
        content["categories"].append({"id": 0, "name": "all", "supercategory": "none"})
        content["annotations"][0]["category_id"] = 0 if split == user else 1
        paths[split] = tmp_path / f"{split}.json"
        paths[split].write_text(json.dumps(content))
    images = str(shapes / "images")
    if loaded:
        sets = {split: load_annotations(path, images) for split, path in paths.items()}
        read = read_data(DataConfig(), Sources(**sets), shown=False)
    else:
        data = DataConfig(train=str(paths["train"]), val=str(paths["val"]), train_images=images, val_images=images)
        read = read_data(data, shown=False)
    assert read.val is not None
    train, val = read.train.annotations, read.val.annotations
    assert train.categories == val.categories
    assert ("all" in [category.name for category in train.categories]) == (user != "neither")
    assert any("only groups the others" in note for note in read.notes) == (user == "neither")


def test_validation_on_the_training_images_is_noted(shapes, tmp_path):
    train, val, images = str(shapes / "train.json"), str(shapes / "val.json"), str(shapes / "images")
    both = json.loads((shapes / "val.json").read_text())
    both["images"].append(json.loads((shapes / "train.json").read_text())["images"][0] | {"id": 999})
    (tmp_path / "both.json").write_text(json.dumps(both))
    for image in both["images"]:
        image["file_name"] = str(shapes / "images" / image["file_name"])
    (tmp_path / "absolute.json").write_text(json.dumps(both))
    shutil.copytree(shapes / "images", tmp_path / "copies")
    (tmp_path / "copies/train/000001.png").write_bytes((tmp_path / "copies/train/000002.png").read_bytes())
    cases = (
        (train, str(tmp_path / "copies"), "12 of 13"),
        (train, images, "13 of 13"),
        (str(tmp_path / "both.json"), images, "1 of 6"),
        (str(tmp_path / "absolute.json"), None, "1 of 6"),
        (val, images, None),
    )
    for path, folder, shared in cases:
        notes = read_data(DataConfig(train=train, val=path, val_images=folder), shown=False).notes
        found = [note for note in notes if "are also training images, so AP is higher than on new images" in note]
        assert found == [] if shared is None else f"{shared} images are also" in found[0]


def _without(shapes: Path, split: str, folder: Path, kept: Callable[[dict], bool]) -> str:
    """Write the annotations of a split with only some of the boxes."""
    content = json.loads((shapes / f"{split}.json").read_text())
    content["annotations"] = [row for row in content["annotations"] if kept(row)]
    (folder / f"{split}.json").write_text(json.dumps(content))
    return str(folder / f"{split}.json")


def test_classes_that_only_validation_has_are_noted(shapes, tmp_path):
    data = DataConfig(
        train=_without(shapes, "train", tmp_path, lambda row: row["category_id"] != 4),
        val=str(shapes / "val.json"),
        train_images=str(shapes / "images"),
    )
    found = [note for note in read_data(data, shown=False).notes if "has no boxes of" in note]
    assert len(found) == 1
    assert "1 class that" in found[0]
    assert "('star'); AP is lower, as the model cannot learn to detect such objects" in found[0]
    data = replace(data, val=_without(shapes, "val", tmp_path, lambda row: row["category_id"] == 1))
    notes = read_data(data, shown=False).notes
    assert not any("has no boxes of" in note for note in notes)
    unused = f"{data.train}: 1 class without boxes ('star'); the model learns to find none"  # a background class?
    assert [note for note in notes if "without boxes" in note] == [unused]
    assert unused in read_data(replace(data, val=""), shown=False).notes


def test_validation_data_without_objects_is_refused(shapes, tmp_path):
    val = _without(shapes, "val", tmp_path, lambda row: False)
    data = DataConfig(train=str(shapes / "train.json"), val=val, val_images=str(shapes / "images"))
    with pytest.raises(UserError, match=r"val.json: has no objects to detect, so AP cannot be measured; give"):
        read_data(data, shown=False)


@pytest.fixture
def namesakes(shapes: Path, tmp_path: Path) -> DataConfig:
    """Return two COCO files with images of the same names, in the folders train and val."""
    for split in ("train", "val"):
        content = json.loads((shapes / f"{split}.json").read_text())
        (tmp_path / split).mkdir()
        for number, image in enumerate(content["images"]):
            name = f"{number}.png"
            shutil.copy(shapes / "images" / image["file_name"], tmp_path / split / name)
            image["file_name"] = name
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    return DataConfig(train=str(tmp_path / "train.json"), val=str(tmp_path / "val.json"))


def _val_folders(data: DataConfig) -> tuple[set[Path], list[str]]:
    val = read_data(data, shown=False).val
    assert val is not None
    found = val.annotations
    return {found.path(i).parent for i in range(len(found))}, list(found.notes)


def test_validation_images_are_looked_up_in_the_folder_of_the_training_images_last(namesakes, tmp_path):
    train, val = tmp_path / "train", tmp_path / "val"
    usual = ({val}, [])
    assert _val_folders(namesakes) == usual
    note = f"{namesakes.val}: images are read from {val}, not {train}; --data.val-images selects another folder"
    data = replace(namesakes, train_images=str(train))
    assert _val_folders(data) == ({val}, [note])
    assert _val_folders(replace(data, val_images=str(val))) == usual
    assert _val_folders(replace(data, val_images=str(train))) == ({train}, [])


@pytest.mark.parametrize("sized", [True, False])
def test_one_folder_may_hold_the_images_of_both_sets(namesakes, tmp_path, tmp_path_factory, sized):
    shutil.rmtree(tmp_path / "val")
    images = (tmp_path / "train").rename(tmp_path_factory.mktemp("elsewhere") / "images")
    if not sized:
        content = json.loads(Path(namesakes.val).read_text())
        content["images"] = [{"id": image["id"], "file_name": image["file_name"]} for image in content["images"]]
        Path(namesakes.val).write_text(json.dumps(content))
    assert _val_folders(replace(namesakes, train_images=str(images))) == ({images}, [])


def test_missing_validation_images_are_not_replaced_by_namesakes(namesakes, tmp_path, tmp_path_factory):
    images = (tmp_path / "train").rename(tmp_path_factory.mktemp("elsewhere") / "images")
    (tmp_path / "val" / "1.png").unlink()
    with pytest.raises(UserError, match=r"val\.json: 1 of 5 images cannot be used.*val/1\.png"):
        read_data(replace(namesakes, train_images=str(images)), shown=False)


def test_masks_pass_through_mixed_precision():
    precision = Fabric(accelerator="cpu", precision="bf16-mixed").strategy.precision
    masks = Masks.encode(torch.ones(2, 5, 6, dtype=torch.uint8))
    _, [target] = precision.convert_input(([], [{"masks": masks}]))
    assert target["masks"].dense().equal(masks.dense())
