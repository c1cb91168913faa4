"""Other people's datasets wrapped as ours: the annotations collected from them, and their samples."""

import json
import os
import random
import signal

import pytest
import torch
from torch.utils.data import dataloader
from torchvision import datasets
from torchvision.transforms import v2

from cascade_rcnn.config import Category
from cascade_rcnn.data import load_coco
from cascade_rcnn.data.augmentation.build import build_augmentation
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.loader import make_loader
from cascade_rcnn.data.wrapped import collect
from cascade_rcnn.errors import UserError


class Noisy:
    """Items that differ at each access, as if augmented; image k has k boxes."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int):
        shift = random.random() + torch.rand(()).item()
        boxes = torch.tensor([[2.0, 3, 10, 13]]).repeat(i, 1) + shift
        return torch.rand(3, 20 + i, 30), {"boxes": boxes, "labels": torch.full((i,), i), "row": torch.arange(i)}


def test_annotations_are_those_of_the_items(tmp_path):
    data = collect(Noisy(), workers=2)
    truth = data.annotations
    assert truth.source == "Noisy"
    assert truth.image_sizes.tolist() == [[20, 30], [21, 30], [22, 30], [23, 30]]
    assert truth.first.tolist() == [0, 0, 1, 3, 6]
    assert truth.labels.tolist() == [1, 2, 2, 3, 3, 3]
    assert [category.name for category in truth.categories] == ["class 1", "class 2", "class 3"]
    assert truth.file_names[2] == "item 2"
    torch.testing.assert_close(truth.boxes[:, 2:], torch.tensor([[8.0, 10]]).repeat(6, 1).double())
    again = collect(Noisy())
    assert truth.boxes.equal(again.annotations.boxes)  # independent of random draws and of the process


def test_without_transforms_an_item_is_the_annotated_one_else_it_follows_the_seed():
    data = collect(Noisy())
    boxes = data.annotations.boxes[data.annotations.rows(2)]
    for seed in (0, 1):
        _, target = data[2, seed]
        torch.testing.assert_close(target["boxes"][:, :2].double(), boxes[:, :2])
    moved = data.with_transforms(v2.Identity())
    first = [moved[2, seed][1]["boxes"] for seed in (0, 1, 0)]
    assert first[0].equal(first[2])
    assert not first[0].equal(first[1])
    assert moved[2, 0][1]["row"].tolist() == [0, 1]


class Own(Noisy):
    """Items that differ at each access, as augmented by a generator that nobody else can seed."""

    def __init__(self) -> None:
        self.rng = random.Random(0)

    def __getitem__(self, i: int):
        image, target = super().__getitem__(i)
        return image, target | {"boxes": target["boxes"] + self.rng.random()}


def test_items_that_are_not_the_annotated_ones_are_not_evaluated(one_line):
    for i in range(4):
        collect(Noisy()).for_evaluation()[i]
    data = collect(Own()).for_evaluation()
    data[0]  # which has no boxes
    with pytest.raises(UserError) as caught:
        data[2]
    one_line(caught, "Own, item 2: its size or boxes have changed since it was first read", "augmentation")


def test_labels_mean_what_they_are_said_to():
    data = collect(Noisy(), {1: Category(id=4, name="a"), 2: Category(id=2, name="b"), 3: Category(id=2, name="b")})
    assert [category.name for category in data.annotations.categories] == ["b", "a"]
    assert data.annotations.labels.tolist() == [2, 1, 1, 1, 1, 1]
    assert data[1, 0][1]["labels"].tolist() == [2]
    with pytest.raises(UserError, match=r"Noisy, item 2: label 2 is not among 1 \(0 is background\)"):
        collect(Noisy(), {1: Category(id=1, name="a")})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_item_is_one_line(workers):
    class Bad(Noisy):
        def __getitem__(self, i: int):
            return super().__getitem__(i) if i != 2 else (torch.rand(3, 5, 5), {"boxes": torch.ones(1, 4)})

    with pytest.raises(UserError, match="Bad, item 2: its target has boxes, but no labels"):
        collect(Bad(), workers=workers)
    with pytest.raises(UserError, match="list: the dataset is empty"):
        collect([])
    named = [(torch.rand(3, 5, 5), {"image_id": 1, "objects": {"bbox": [[1, 1, 2, 2]]}})]
    with pytest.raises(UserError, match=r"list: no target has boxes and labels \(that of item 0 has objects\); give"):
        collect(named)
    assert len(collect([(torch.rand(3, 5, 5), {"image_id": 1})])) == 1


def test_a_process_that_is_killed_is_explained(monkeypatch):
    class Large(Noisy):
        def __getitem__(self, i):
            os.kill(os.getpid(), signal.SIGKILL)

    # Not to look for it only every 5 seconds.
    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))
    with pytest.raises(UserError, match=r"a data loading process has died \(killed, or out of memory\); use fewer"):
        collect(Large(), workers=1)


def test_torchvision_s_coco_gives_what_our_reader_gives(make_annotations, write_image, tmp_path):
    write_image(tmp_path / "a.png", 40, 30)
    write_image(tmp_path / "b.png", 20, 30)
    truth = {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "b.png", "width": 20, "height": 30},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 5, "bbox": [5, 5, 20, 10], "area": 150, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 1},
        ],
        "categories": [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    keys = ("boxes", "labels", "image_id", "area", "iscrowd")
    theirs = datasets.wrap_dataset_for_transforms_v2(datasets.CocoDetection(tmp_path, path), target_keys=keys)
    ours = Dataset(load_coco(path))
    labels = {category.id: category for category in ours.annotations.categories}
    data = collect(theirs, labels)
    place = {int(identity): i for i, identity in enumerate(ours.annotations.image_ids)}
    for i in range(2):
        image, target = data[i, 0]
        same_image, same = ours[place[int(target["image_id"])], 0]
        assert image.equal(same_image)
        assert {name: value.tolist() for name, value in target.items()} == {k: v.tolist() for k, v in same.items()}


def test_batches_of_it(tmp_path):
    data = collect(Noisy()).with_transforms(v2.RandomHorizontalFlip(0.5))
    loader = make_loader(data, batch_size=2, workers=1, seed=0, shuffle=True)
    epochs = [[image for images, _ in loader for image in images] for _ in range(2)]
    assert all(one.equal(other) for one, other in zip(*epochs, strict=True))
    loader.set_epoch(1)
    other = [image for images, _ in loader for image in images]
    assert not all(a.shape == b.shape and a.equal(b) for a, b in zip(epochs[0], other, strict=True))


def test_a_field_of_the_image_may_have_as_many_rows_as_boxes():
    """DETR's `orig_size` has two rows, which in the third item are as many as boxes."""

    class Sized(Noisy):
        def __getitem__(self, i: int):
            image, target = super().__getitem__(i)
            return image, target | {"orig_size": torch.tensor(image.shape[1:])}

    def first_only(image, target):
        assert set(target) == {"boxes", "labels", "row", "orig_size", "area", "iscrowd", "image_id"}
        return image, target | {name: target[name][:1] for name in ("boxes", "labels")}

    data = collect(Sized(), workers=1)
    one = data.with_transforms(first_only)[2, 0][1]
    assert (one["orig_size"].tolist(), one["row"].tolist()) == ([22, 30], [0])
    mixed = data.with_transforms(build_augmentation("mosaic:probability=1"))
    for _, target in (mixed[i, seed] for i in (2, 3) for seed in range(4)):
        assert target["orig_size"].shape == (2,)
        assert len(target["row"]) == len(target["boxes"])
        assert set(target) == set(data[2][1])


def test_masks_of_the_items(tmp_path):
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 3:9, 4:20] = True
    target = {"boxes": torch.tensor([[4.0, 3, 20, 9], [1, 1, 5, 5]]), "labels": torch.tensor([1, 1]), "masks": masks}
    given = [(torch.zeros(3, 20, 30), target), (torch.zeros(3, 8, 8), {})]
    assert collect(given).annotations.segmentations is None
    data = collect(given, masks=True)
    segmentations = data.annotations.segmentations
    assert segmentations is not None
    assert segmentations.has().tolist() == [True, False]
    assert segmentations.masks([0, 1], 20, 30).dense().bool().equal(masks)
    assert any("1 of 2 objects have no segmentation" in note for note in data.annotations.notes)
    assert data.annotations.without_area.all()  # masks then have their own areas, not those of the boxes
    assert data.annotations.areas.tolist() == [96, 16]
    _, mine = data.with_transforms(v2.RandomHorizontalFlip(1))[0, 1]
    assert mine["area"].tolist() == [96, 16]
    assert mine["masks"].dense().bool().equal(masks.flip(-1))
    assert mine["iscrowd"].tolist() == [0, 1]  # an object without a mask is neither learnt nor background
