"""The comparison of masks with other frameworks: networks are transferred, metrics compared with the right ones."""

import math

import pytest
import torch
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from benchmarks.agreement import agreement
from benchmarks.masks import compared
from benchmarks.photo import maps, objects
from benchmarks.weights import first_stage, to_torchvision
from cascade_rcnn import create_model
from cascade_rcnn.interop import torchvision


def test_torchvision_gets_the_weights_that_convert_back():
    cascade = create_model("cascade_mask_rcnn_resnet18_fpn", 3, pyramid_channels=16, head_width=32)
    faster = first_stage(cascade)
    theirs = to_torchvision(faster)
    parts = {"mask_head": MaskRCNNHeads(16, (16,) * 4, 1), "mask_predictor": MaskRCNNPredictor(16, 16, 4)}
    for name, part in parts.items():
        own = {key.removeprefix(f"roi_heads.{name}."): x for key, x in theirs.items() if f".{name}." in key}
        part.load_state_dict(own)
    config, state = torchvision.convert(theirs)
    assert config.tasks
    own = {name: value for name, value in faster.state_dict().items() if name.startswith("tasks")}
    assert len(own) == 12
    torch.testing.assert_close({name: state[name] for name in own}, own, rtol=0, atol=0)


def test_objects_are_ellipses_inside_their_boxes():
    target = objects((120, 160), 5, number=4, masks=True)
    for (x, y, x_end, y_end), mask in zip(target["boxes"].tolist(), target["masks"], strict=True):
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        assert x - 1 <= int(columns[0]) <= int(columns[-1]) < x_end + 1
        assert y - 1 <= int(rows[0]) <= int(rows[-1]) < y_end + 1
        assert int(mask.sum()) == pytest.approx(math.pi / 4 * (x_end - x) * (y_end - y), rel=0.05)
    given = maps((120, 160), number=4)
    torch.testing.assert_close(given["boxes"], target["boxes"])
    assert 0.2 < float((given["masks"] >= 0.5).float().mean()) < 0.8


def test_ours_stands_beside_its_peer():
    figures = {"torchvision v1": 2.0, "faster": 1.0, "faster, encoded": 0.5, "torchvision v1, converted": 3.0,
               "cascade": 1.0, "detectron2": 4.0}  # fmt: skip
    rows = compared("inference", figures, "ms")
    assert [(row.what.removeprefix("inference: "), row.ratio, row.met) for row in rows] == [
        ("torchvision's Mask R-CNN", None, None),
        ("Mask R-CNN", 0.5, True),
        ("Mask R-CNN, encoded", 0.25, True),
        ("Mask R-CNN, converted", 1.5, False),
        ("detectron2's Cascade Mask R-CNN", None, None),
        ("Cascade Mask R-CNN", 0.25, True),
    ]
    del figures["detectron2"]
    assert {row.against for row in compared("inference", figures, "ms")} == {"", "torchvision v1"}


def test_agreement_of_masks_is_their_least_overlap():
    found = {"boxes": torch.tensor([[0.0, 0, 8, 8], [20, 20, 28, 28]]), "scores": torch.tensor([0.9, 0.8])}
    found |= {"labels": torch.tensor([1, 2]), "masks": torch.zeros(2, 1, 32, 32)}
    found["masks"][0, 0, :8, :8], found["masks"][1, 0, 20:28, 20:28] = 0.7, 1.0
    other = {name: value.flip(0) for name, value in found.items()}
    other["masks"] = other["masks"] >= 0.5
    same = "2 of 2 detections are the same, within 0 pixels and 0 in score; the lowest IoU of their masks is "
    assert agreement(found, other) == same + "1.000"
    other["masks"][0, 0, 20:24] = False
    assert agreement(found, other) == same + "0.500"
