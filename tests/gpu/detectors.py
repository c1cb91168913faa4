"""Thin detectors of every kind, and what they are given, for tests that compare a device with the CPU."""

from typing import Any

import torch
from torch import Tensor

from cascade_rcnn import Detector, create_model

THIN = {"backbone_width": 16, "pyramid_channels": 16, "head_width": 32, "proposals": 100, "rois": 64}
SINGLE = {key: value for key, value in THIN.items() if key != "pyramid_channels"}
FIXED = {key: value for key, value in THIN.items() if key != "backbone_width"}
FPN = "cascade_rcnn_resnet18_fpn"
SIZES: dict[str, dict[str, Any]] = {
    FPN: THIN,
    "faster_rcnn_resnet18_fpn": THIN,
    "iterative_bbox_resnet18_fpn": THIN,
    "integral_loss_resnet18_fpn": THIN,
    "cascade_mask_rcnn_resnet18_fpn": THIN,
    "cascade_rfcn_resnet18": SINGLE,
    "cascade_rcnn_vgg16": {key: value for key, value in SINGLE.items() if key != "backbone_width"},
    "cascade_rcnn_resnet50_dcnv2_fpn": THIN,
    "cascade_rcnn_swin_t_fpn": FIXED,
    "cascade_rcnn_convnext_tiny_fpn": FIXED,
}


def built(name: str, semantics: str = "detectron2", **options: Any) -> Detector:
    torch.manual_seed(0)
    options = {"score_threshold": 0.0, "min_size": None} | SIZES.get(name, FIXED) | options
    return create_model(name, 3, semantics=semantics, weights_backbone=None, **options)


def images(device: str | torch.device = "cpu") -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=generator).to(device) for size in ((160, 224), (192, 128), (100, 200))]


def targets(device: str | torch.device = "cpu") -> list[dict[str, Tensor]]:
    whole = [[[5, 5, 90, 80], [60, 40, 120, 150]], [], [[10, 20, 180, 90]]]
    found = []
    for boxes, image in zip(whole, images(), strict=True):
        masks = torch.zeros(len(boxes), *image.shape[1:], dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
            mask[top:bottom, left:right] = 1
        labels = torch.arange(len(boxes)) + 1
        found.append({"boxes": torch.tensor(boxes).reshape(-1, 4).float(), "labels": labels, "masks": masks})
    return [{key: value.to(device) for key, value in one.items()} for one in found]
