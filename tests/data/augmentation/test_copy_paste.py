"""Copy-paste: which objects are pasted, what they hide, and the error without masks."""

import pytest
import torch
from torchvision import tv_tensors

from cascade_rcnn.config.augmentation import CopyPasteConfig
from cascade_rcnn.data.augmentation.copy_paste import CopyPaste
from cascade_rcnn.errors import UserError


def _paste(objects: float = 1.0) -> CopyPaste:
    return CopyPaste(CopyPasteConfig(objects=objects, scale=(1.0, 1.0)))


def test_a_pasted_object_makes_the_boxes_behind_it_smaller(sample, consistent):
    image, target = sample(20, 40, [[0, 0, 10, 10], [10, 0, 30, 10], [30, 10, 40, 20]])
    other = sample(20, 40, [[6, 0, 18, 12]], first_label=9)
    pasted, found = _paste().mix(image, target, lambda: other)
    assert found["boxes"].tolist() == [[0, 0, 6, 10], [18, 0, 30, 10], [30, 10, 40, 20], [6, 0, 18, 12]]
    assert found["labels"].tolist() == [1, 2, 3, 9]
    assert found["area"].tolist() == pytest.approx([60, 120, 100, 144])
    assert found["masks"].flatten(1).sum(1).tolist() == [60, 120, 100, 144]
    assert found["masks"].sum(0).max().item() == 1  # a pixel belongs to one object
    assert (pasted[:, :12, 6:18] == 90).all()
    assert (pasted[:, :10, :6] == 10).all()
    consistent(pasted, found)


def test_what_is_almost_hidden_goes_and_a_box_stays_where_the_middle_is_covered(sample, consistent):
    image, target = sample(20, 40, [[0, 0, 10, 10], [20, 0, 40, 20]])
    other = sample(20, 40, [[0, 0, 10, 9], [25, 5, 35, 15]], first_label=8)
    pasted, found = _paste().mix(image, target, lambda: other)
    assert found["labels"].tolist() == [1, 2, 8, 9]  # a tenth of the first is left: just enough
    assert found["boxes"].tolist() == [[0, 9, 10, 10], [20, 0, 40, 20], [0, 0, 10, 9], [25, 5, 35, 15]]
    assert found["area"][1].item() == 300
    consistent(pasted, found)
    other = sample(20, 40, [[0, 0, 10, 10]], first_label=8)
    assert _paste().mix(image, target, lambda: other)[1]["labels"].tolist() == [2, 8]


def test_what_is_left_of_a_crowd_is_still_ignored(sample, consistent):
    image, target = sample(20, 40, [[0, 0, 10, 20], [20, 0, 30, 20]])
    target["iscrowd"][:] = 1
    other = sample(20, 40, [[0, 0, 10, 19], [20, 0, 30, 20]], first_label=8)
    pasted, found = _paste().mix(image, target, lambda: other)
    assert found["labels"].tolist() == [1, 8, 9]  # of the first crowd, a twentieth is left; of the second, nothing
    assert found["boxes"][0].tolist() == [0, 19, 10, 20]
    consistent(pasted, found)


def test_an_object_of_which_only_pixels_beside_its_box_are_left_goes(sample, consistent):
    image, target = sample(20, 40, [[0, 0, 10, 2], [20, 0, 30, 10]])
    target["boxes"][0, 3] = 0.6  # of a mask of two rows
    other = sample(20, 40, [[0, 0, 10, 1]], first_label=8)
    pasted, found = _paste().mix(image, target, lambda: other)
    assert found["labels"].tolist() == [2, 8]
    consistent(pasted, found)


def test_masks_are_cut_not_boxes(sample):
    """The object is an L, so its box has a corner where the image remains visible."""
    image, target = sample(20, 40, [[30, 0, 40, 20]])
    other = sample(20, 40, [[0, 0, 10, 10]], first_label=5)
    masks = other[1]["masks"].clone()
    masks[0, :5, 5:] = 0
    other[1]["masks"] = tv_tensors.Mask(masks)
    pasted, found = _paste().mix(image, target, lambda: other)
    assert (pasted[:, :5, :5] == 50).all()
    assert (pasted[:, :5, 5:10] == 0).all()
    assert found["boxes"][1].tolist() == [0, 0, 10, 10]


def test_groups_are_not_pasted_and_nothing_chosen_changes_nothing(sample):
    image, target = sample(20, 40, [[0, 0, 10, 10]])
    other = sample(20, 40, [[20, 0, 30, 10], [0, 10, 5, 15]], first_label=5)
    other[1]["iscrowd"][0] = 1
    assert _paste().mix(image, target, lambda: other)[1]["labels"].tolist() == [1, 6]
    same, kept = _paste(objects=0).mix(image, target, lambda: other)
    assert same is image
    assert kept is target


def test_scale_and_place_are_drawn(sample, consistent, draws):
    image, target = sample(40, 40, [])
    other = sample(20, 20, [[0, 0, 10, 10]], first_label=5)
    draws(0.5, [1.0, 0.5], [0.0])  # scale .75: 30 x 30; placed at the bottom, 5 from the left; the object is chosen
    step = CopyPaste(CopyPasteConfig(objects=1, scale=(0.5, 1.0)))
    pasted, found = step.mix(image, target, lambda: other)
    assert found["boxes"].tolist() == [[5, 10, 20, 25]]
    consistent(pasted, found)


def test_without_masks_it_is_refused(sample, one_line):
    image, target = sample(20, 40, [[0, 0, 10, 10]])
    plain = {name: value for name, value in target.items() if name != "masks"}
    for own, others in ((plain, target), (target, plain)):
        with pytest.raises(UserError) as caught:
            _paste().mix(image, own, lambda others=others: (image, others))
        one_line(caught, "copy_paste", "masks")


def test_an_image_without_objects_needs_no_masks(sample, consistent):
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "iscrowd": torch.zeros(0).long()}
    image = torch.zeros(3, 20, 40, dtype=torch.uint8)
    pasted, found = _paste().mix(image, empty, lambda: sample(20, 40, [[20, 0, 30, 10]]))
    consistent(pasted, found)
    assert found["boxes"].tolist() == [[20, 0, 30, 10]]
    same, kept = _paste().mix(image, empty, lambda: (image, empty))
    assert same is image
    assert len(kept["boxes"]) == 0
