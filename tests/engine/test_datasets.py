"""Data given as objects: when it is read again, and what its labels mean."""

import dataclasses

import pytest
import torch
from torchvision.transforms import v2

from cascade_rcnn.config import Category
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.wrapped import WrappedDataset
from cascade_rcnn.engine.datasets import as_dataset, check_given, check_names, meaning
from cascade_rcnn.errors import UserError

CATEGORIES = (Category(id=5, name="cat"), Category(id=9, name="dog"))


@pytest.fixture
def annotations(shapes) -> Annotations:
    return load_annotations(shapes / "val.json")


def test_labels_by_position_by_name_and_unknown():
    assert meaning(None, None) is None
    assert meaning(None, CATEGORIES) == {1: CATEGORIES[0], 2: CATEGORIES[1]}
    assert meaning(["dog", "cat"], CATEGORIES) == {1: CATEGORIES[1], 2: CATEGORIES[0]}
    assert meaning({18: "dog"}, CATEGORIES) == {18: CATEGORIES[1]}
    assert meaning({18: "dog", 3: "cat"}, None) == {18: Category(id=18, name="dog"), 3: Category(id=3, name="cat")}
    with pytest.raises(UserError, match="classes: 'cow' is not a class of the training data; choose from 'cat', 'dog'"):
        meaning(["cow"], CATEGORIES)


def test_what_is_known_is_not_read_again(annotations):
    for given in (annotations, Dataset(annotations)):
        dataset = as_dataset(given, shown=False)
        assert type(dataset) is Dataset
        assert dataset.annotations.boxes is annotations.boxes


def test_what_transforms_may_change_is_read_as_they_leave_it(annotations):
    dataset = as_dataset(Dataset(annotations, v2.Resize((32, 48))), shown=False)
    assert isinstance(dataset, WrappedDataset)
    assert set(map(tuple, dataset.annotations.image_sizes.tolist())) == {(32, 48)}
    assert dataset.annotations.categories == annotations.categories
    expected = annotations.boxes * torch.tensor([48, 32, 48, 32]) / 64
    torch.testing.assert_close(dataset.annotations.boxes, expected, rtol=1e-4, atol=1e-3)


def test_files_are_looked_at(annotations, tmp_path):
    with pytest.raises(UserError, match="5 of 5 images cannot be used"):
        as_dataset(dataclasses.replace(annotations, images_dir=tmp_path))


@pytest.mark.parametrize("given", ["photos", {"boxes": []}, 3, None, iter([])])
def test_what_is_not_data(given):
    with pytest.raises(UserError, match="as data; give a path"):
        check_given(given)


def test_names_are_for_data_that_has_none(annotations):
    check_names(["a"], None, [])
    check_names(None, annotations)
    for given in (annotations, Dataset(annotations), None):
        with pytest.raises(UserError, match="annotations have class names of their own"):
            check_names(["a"], given)
