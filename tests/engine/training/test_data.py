"""Training data, with masks where the model learns them."""

from dataclasses import replace

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


def test_validation_on_the_training_images_is_noted(shapes):
    train, val = str(shapes / "train.json"), str(shapes / "val.json")
    for path, noted in ((train, True), (val, False)):
        notes = read_data(DataConfig(train=train, val=path), shown=False).notes
        assert any("is both training and validation data" in note for note in notes) == noted


def test_masks_pass_through_mixed_precision():
    precision = Fabric(accelerator="cpu", precision="bf16-mixed").strategy.precision
    masks = Masks.encode(torch.ones(2, 5, 6, dtype=torch.uint8))
    _, [target] = precision.convert_input(([], [{"masks": masks}]))
    assert target["masks"].dense().equal(masks.dense())
