"""Items of other people's datasets, in every form that torchvision allows."""

import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors

from cascade_rcnn.data.items import DetectionData, read_item
from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks

IMAGE = torch.zeros(3, 20, 30, dtype=torch.uint8)
BOXES = torch.tensor([[1.0, 2, 11, 12], [3, 4, 8, 9]])
LABELS = torch.tensor([3, 7])
MASKS = (torch.arange(1200).reshape(2, 20, 30) % 7 < 3).to(torch.uint8)


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        tv_tensors.Image(IMAGE),
        IMAGE.float(),
        PIL.Image.new("RGB", (30, 20)),
        PIL.Image.new("L", (30, 20)),
        np.zeros((20, 30, 3), np.uint8),
    ],
)
def test_images(image):
    pixels, _ = read_item([(image, {"boxes": BOXES, "labels": LABELS})], 0)
    assert type(pixels) is torch.Tensor
    assert pixels.shape == (3, 20, 30)


@pytest.mark.parametrize(
    "boxes",
    [
        BOXES,
        BOXES.int(),
        BOXES.tolist(),
        BOXES.numpy(),
        tv_tensors.BoundingBoxes([[1, 2, 10, 10], [3, 4, 5, 5]], format="XYWH", canvas_size=(20, 30)),  # pyright: ignore[reportCallIssue]
    ],
)
def test_boxes(boxes):
    _, target = read_item([(IMAGE, {"boxes": boxes, "labels": [3, 7], "image_id": 5, "name": "x"})], 0)
    assert target["boxes"].equal(BOXES)
    assert target["labels"].tolist() == [3, 7]
    assert target["area"].isnan().all()
    assert target["iscrowd"].tolist() == [0, 0]
    assert target["image_id"].item() == 5
    assert "name" not in target


def test_what_is_given_besides_is_kept():
    given = {"boxes": BOXES, "labels": LABELS, "area": [9, 8], "iscrowd": torch.tensor([True, False])}
    _, target = read_item([(IMAGE, given | {"masks": MASKS, "score": torch.ones(2)})], 0)
    assert target["area"].tolist() == [9, 8]
    assert target["iscrowd"].tolist() == [1, 0]
    assert isinstance(target["masks"], Masks)
    assert target["masks"].dense().equal(MASKS)
    assert target["score"].tolist() == [1, 1]


@pytest.mark.parametrize("masks", [MASKS.bool(), tv_tensors.Mask(MASKS), MASKS.numpy(), Masks.encode(MASKS)])
def test_masks_in_all_forms(masks):
    _, target = read_item([(IMAGE, {"boxes": BOXES, "labels": LABELS, "masks": masks})], 0)
    assert target["masks"].dense().equal(MASKS)


def test_no_masks_of_no_objects():
    given = {"boxes": [], "labels": [], "masks": torch.zeros(0)}
    assert read_item([(IMAGE, given)], 0)[1]["masks"].dense().shape == (0, 20, 30)


@pytest.mark.parametrize("target", [{}, {"image_id": 3}, {"boxes": [], "labels": []}])
def test_an_image_without_objects(target):
    _, target = read_item([(IMAGE, target)], 0)
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)
    assert target["labels"].dtype == torch.int64


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (IMAGE, r"not an \(image, target\) pair"),
        ((IMAGE, [{"bbox": [1, 2, 3, 4]}]), "wrap_dataset_for_transforms_v2"),
        ((IMAGE, {"boxes": BOXES, "label": LABELS}), "its target has boxes, label, but no labels"),
        ((IMAGE, {"boxes": BOXES, "labels": LABELS[:1]}), r"boxes \(2, 4\) and labels \(1,\)"),
        ((IMAGE, {"boxes": BOXES, "labels": LABELS.float()}), "torch.float32"),
        ((IMAGE, {"boxes": BOXES[:, :3], "labels": LABELS}), r"boxes \(2, 3\)"),
        ((IMAGE, {"boxes": BOXES / 0, "labels": LABELS}), "a box is .*inf"),
        ((IMAGE, {"boxes": BOXES.flip(1), "labels": LABELS}), "x2 < x1 or y2 < y1; give XYXY, not XYWH"),
        ((IMAGE, {"boxes": BOXES, "labels": ["cat", "dog"]}), r"its target has labels \['cat', 'dog'\]"),
        ((IMAGE, {"boxes": BOXES, "labels": LABELS, "area": [1]}), r"area \(1,\)"),
        ((IMAGE, {"boxes": BOXES, "labels": LABELS, "masks": MASKS[:1]}), r"masks \(1, 20, 30\); .*: \(2, 20, 30\)"),
        ((IMAGE, {"boxes": BOXES, "labels": LABELS, "masks": MASKS[:, :9]}), r"masks \(2, 9, 30\)"),
        ((IMAGE, {"boxes": BOXES, "labels": LABELS, "masks": MASKS[0]}), r"masks \(20, 30\)"),
        ((IMAGE + 200.0, {"boxes": BOXES, "labels": LABELS}), "values from 200 to 200; give 0..1"),
        ((IMAGE - 2.1, {}), "the model normalises images itself"),
        ((IMAGE / 0.0, {}), "values from nan"),
        ((IMAGE.long(), {"boxes": BOXES, "labels": LABELS}), "dtype torch.int64"),
    ],
)
def test_mistakes_name_the_item_in_one_line(item, message):
    with pytest.raises(UserError, match=message) as error:
        read_item([item], 0)
    assert str(error.value).startswith("list, item 0: ")
    assert "\n" not in str(error.value)


def test_the_protocol_is_what_lists_and_data_sets_have():
    assert isinstance([], DetectionData)
    assert not isinstance(iter([]), DetectionData)


def test_an_exception_of_the_dataset_says_where():
    class Broken:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int):
            raise KeyError("boom")

    with pytest.raises(KeyError, match="boom") as caught:
        read_item(Broken(), 2)
    assert caught.value.__notes__ == ["(in Broken, item 2)"]


def test_pixels_of_a_pil_image_are_those_that_its_boxes_were_drawn_on():
    """A photo with a rotation in its EXIF data, as a dataset class opens it: torchvision does not rotate it either."""
    photo = PIL.Image.new("RGB", (30, 20))
    photo.getexif()[PIL.ExifTags.Base.Orientation] = 6
    image, _ = read_item([(photo, {"boxes": BOXES, "labels": [1, 2]})], 0)
    assert image.shape == (3, 20, 30)


def test_boxes_of_an_image_of_another_size_are_refused():
    boxes = tv_tensors.BoundingBoxes(BOXES, format="XYXY", canvas_size=(30, 20))  # pyright: ignore[reportCallIssue]
    with pytest.raises(UserError, match="its boxes are those of an image of 20 x 30 pixels, but the image has 30 x 20"):
        read_item([(IMAGE, {"boxes": boxes, "labels": [1, 2]})], 0)


def test_gradients_doubles_and_numpy_s_ids():
    target = {"boxes": BOXES.clone().requires_grad_(), "labels": [1, 2], "image_id": np.int64(7)}
    image, found = read_item([(IMAGE.double() / 255, target)], 0)
    assert (image.dtype, found["boxes"].requires_grad, found["image_id"].item()) == (torch.float32, False, 7)
