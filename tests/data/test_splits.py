import pytest

from cascade_rcnn.data.splits import choose, distinct, for_training, is_split, rank
from cascade_rcnn.errors import UserError


def test_what_is_called_a_split():
    assert all(map(is_split, ("train", "valid", "val2017", "Test", "trainval", "dev")))
    assert not any(map(is_split, ("person_train", "images", "batch1", "2017")))


@pytest.mark.parametrize(
    ("splits", "wanted", "found"),
    [
        (["all"], None, "all"),
        (["train", "valid"], "val", "valid"),
        (["train2017", "val2017"], "train", "train2017"),
        (["val", "valid"], "valid", "valid"),
    ],
)
def test_which_split_is_meant(splits, wanted, found):
    assert choose("set", splits, wanted) == found


@pytest.mark.parametrize(
    ("splits", "wanted", "message"),
    [
        (["train", "val"], None, "has the splits"),
        (["train", "val"], "trian", "no split 'trian'.*mean 'train'"),
        (["train2014", "train2017"], "train", "has the splits"),
    ],
)
def test_a_split_that_is_not_clear_is_asked_for(splits, wanted, message):
    with pytest.raises(UserError, match=message):
        choose("set", splits, wanted)


def test_splits_for_training():
    assert for_training("set", ["test", "train", "valid"]) == ("train", "valid")
    assert for_training("set", ["test", "train"]) == ("train", None)  # never validate on the split reserved for testing
    assert for_training("set", ["default"]) == ("default", None)
    with pytest.raises(UserError, match="no split 'train'"):
        for_training("set", ["test", "val"])


@pytest.mark.parametrize(
    ("splits", "kept"),
    [
        (["train", "trainval", "val"], ["train", "val"]),
        (["test", "trainval"], ["test", "trainval"]),  # the only list of training splits
        (["train", "val", "cat_train", "cat_val", "dog"], ["train", "val", "dog"]),
    ],
)
def test_lists_of_what_others_hold_are_left_out(splits, kept):
    assert distinct(splits) == kept


def test_training_comes_first_then_validation_and_test():
    names = ["extra", "test2017", "valid", "train2017", "dev"]
    assert sorted(names, key=rank) == ["train2017", "valid", "dev", "test2017", "extra"]
