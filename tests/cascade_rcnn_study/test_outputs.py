"""The values behind Figure 1 (a, b)."""

import dataclasses

import pytest
import torch

from cascade_rcnn.data import load_annotations
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn_study.outputs import chosen_images, detection_outputs


@pytest.fixture(scope="module")
def truth(base):
    return load_annotations(base.data.val)


class Oracle(torch.nn.Module):
    """A detector of each image's first object, of a box of half its width beside it, and of one with a low score."""

    def __init__(self, truth):
        super().__init__()
        self.truth, self.nothing = Dataset(truth), torch.nn.Parameter(torch.zeros(0))

    def forward(self, images):
        (target,) = [target for image, target in map(self.truth.__getitem__, range(3)) if torch.equal(image, images[0])]
        x1, y1, x2, y2 = target["boxes"][0].tolist()
        boxes = torch.tensor([[x1, y1, x2, y2], [x1, y1, (x1 + x2) / 2, y2], [x1, y1, x2, y2]])
        return [{"boxes": boxes, "scores": torch.tensor([0.9, 0.6, 0.01]), "labels": target["labels"][[0, 0, 0]]}]


def test_boxes_are_judged_by_the_best_iou_with_an_object_of_their_class(truth):
    outputs = detection_outputs(Oracle(truth), truth)
    assert [output["image"] for output in outputs] == [truth.file_names[i] for i in chosen_images(truth)]
    for output in outputs:
        assert output["scores"] == [0.9, 0.6]
        assert output["ious"] == pytest.approx([1.0, 0.5], abs=0.01)
        assert output["boxes"][0] == output["truth"][0]
        assert output["picture"].startswith("data:image/")


def test_no_box_fits_where_nothing_is_of_its_class(truth):
    others = dataclasses.replace(truth, labels=truth.labels % 4 + 1)
    outputs = detection_outputs(Oracle(others), truth)  # its classes are not those of the annotations
    assert all(output["ious"][0] < 0.5 for output in outputs)


def test_images_are_chosen_by_their_smallest_objects(truth):
    """Images with three or more objects come first, then those whose smallest object is larger."""
    sizes = torch.tensor([[5.0, 9], [8, 8], [9, 9], [20, 20], [9, 9], [9, 9], [7, 9]], dtype=torch.float64)
    some = dataclasses.replace(
        truth,
        boxes=torch.cat((torch.zeros(7, 2, dtype=torch.float64), sizes), 1),
        first=torch.tensor([0, 3, 4, 7]),  # sizes of the smallest objects: 5, 20 (a single object), 7
        ignore=torch.zeros(7, dtype=torch.bool),
    )
    assert chosen_images(some) == [2, 0]
    crowds = torch.tensor([False, False, False, False, True, True, False])  # leaves one, of size 7, in the last image
    assert chosen_images(dataclasses.replace(some, ignore=crowds)) == [0, 1]
