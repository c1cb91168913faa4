"""From each peer's detector of COCO's classes to other classes: the rows that are kept are those of the peer's file."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from cascade_rcnn import create_model
from cascade_rcnn.config import Category
from cascade_rcnn.interop import categories, layout
from cascade_rcnn.interop.convert import convert_checkpoint, names_at
from cascade_rcnn.interop.detectron2 import to_detectron2
from cascade_rcnn.interop.renaming import relaid, rename
from cascade_rcnn.models.checkpoint import save
from cascade_rcnn.models.fine_tuning import start_from

TINY: dict[str, Any] = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "min_size": 64}
# mmdetection's and detectron2's order, from 0; torchvision's ids, from 1
PLACES = {"person": (0, 1), "traffic light": (9, 10), "cat": (15, 17), "toothbrush": (79, 90)}
NEW = ("toothbrush", "scratch", "cat", "person")


def model(origin: str):
    """Return a detector of COCO's classes whose weights are all different."""
    name = "faster_rcnn_resnet18_fpn" if origin == "torchvision" else "cascade_rcnn_resnet18_fpn"
    known = categories.coco(with_gaps=origin == "torchvision")
    options = TINY | {"class_agnostic": origin == "detectron2"}
    built = create_model(name, categories=known, **options)
    with torch.no_grad():
        for value in built.parameters():
            value.uniform_(-1, 1)
    return built


def in_the_peers_form(origin: str) -> dict[str, Tensor]:
    """Return the detector's state dict with the peer's tensor names and layouts."""
    built = model(origin)
    if origin == "detectron2":
        return to_detectron2(built)
    if origin == "mmdet":
        state = relaid(built.state_dict(), built.config, layout.LAYOUT_OUT)
        return {rename(name, names_at("mmdet", built.config)) or name: value for name, value in state.items()}
    found = {}
    for name, value in built.state_dict().items():
        if name.endswith("num_batches_tracked"):  # frozen batch norm, as in the weights that torchvision publishes
            continue
        value = layout.fc1_out(value, built.config) if name.endswith("fc1.weight") else value
        if ".regressor." in name:  # there, the background's come first and are unused
            value = torch.cat([value.new_zeros(4, *value.shape[1:]), value])
        found[rename(name, names_at("torchvision", built.config)) or name] = value
    return found


HEADS = {
    "detectron2": ("roi_heads.box_predictor.{}.cls_score", "roi_heads.box_predictor.{}.bbox_pred"),
    "mmdet": ("roi_head.bbox_head.{}.fc_cls", "roi_head.bbox_head.{}.fc_reg"),
    "torchvision": ("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"),
}


@pytest.mark.parametrize("origin", HEADS)
def test_classes_of_coco_go_along_by_their_names(origin, tmp_path):
    theirs = in_the_peers_form(origin)
    torch.save(theirs, tmp_path / "theirs.pth")
    converted, _ = convert_checkpoint(tmp_path / "theirs.pth", origin)
    names = [category.name for category in converted.config.categories]
    first = int(origin == "torchvision")  # the rows start with the background
    assert all(names[place[first] - first] == name for name, place in PLACES.items())
    save(converted, tmp_path / "ours.safetensors")
    new = tuple(Category(id=k, name=name) for k, name in enumerate(NEW, start=1))
    tuned, note = start_from(tmp_path / "ours.safetensors", new)
    below = "backbone, RPN and box regressors" if origin == "detectron2" else "backbone and RPN"
    start = "1 of 4 classes start from scratch ('scratch'), the others keep their weights"
    assert note == f"{start}; {below} keep theirs"

    ours = dict(tuned.state_dict())
    for stage in range(len(tuned.config.stages)):
        classifier, regressor = (name.format(stage) for name in HEADS[origin])
        for part in ("weight", "bias"):
            rows, source = ours[f"roi_heads.heads.{stage}.classifier.{part}"], theirs[f"{classifier}.{part}"]
            background = source[0] if origin == "torchvision" else source[-1]
            assert torch.equal(rows[0], background)
            assert all(
                torch.equal(rows[1 + NEW.index(name)], source[PLACES[name][first]]) for name in NEW if name != "scratch"
            )
            assert rows[1 + NEW.index("scratch")].abs().max() < 0.2  # it would be -1 to 1 if it were copied
            boxes, source = ours[f"roi_heads.heads.{stage}.regressor.{part}"], theirs[f"{regressor}.{part}"]
            if origin == "detectron2":  # class-agnostic: kept entirely
                assert torch.equal(boxes, source)
            else:
                place = PLACES["cat"][first]
                assert torch.equal(boxes[4 * 2 : 4 * 3], source[4 * place : 4 * place + 4])
    below = converted.state_dict()
    kept = [name for name in ours if not re.search(r"classifier|regressor", name)]
    assert all(torch.equal(ours[name], below[name]) for name in kept)


def test_published_lists_are_cocos():
    """The ids of COCO's annotation files, in the class order that all peers share."""
    known = categories.coco()
    assert [category.id for category in known][:12] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13]
    assert (known[-1].id, known[-1].name, len(known)) == (90, "toothbrush", 80)
    listed = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    assert [listed[category.id] for category in known] == [category.name for category in known]
