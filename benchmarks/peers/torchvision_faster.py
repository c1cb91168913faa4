"""torchvision's detectors with our weights, and with our numbers of proposals, classes and detections."""

from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection import FasterRCNN, MaskRCNN, fasterrcnn_resnet50_fpn_v2
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.misc import FrozenBatchNorm2d

from benchmarks.measure import Task
from benchmarks.weights import rois, set_background, spread, take_statistics

_FROZEN = ("conv1", "bn1", "layer1")  # as with pretrained weights


def _settings(task: Task) -> dict[str, Any]:
    """Return our settings under torchvision's names: the same number of proposals, and the photo in its own size."""
    numbers = {f"rpn_post_nms_top_n_{phase}": task.proposals for phase in ("train", "test")}
    numbers |= {"rpn_pre_nms_top_n_train": 2 * task.proposals, "rpn_pre_nms_top_n_test": task.proposals}
    size = {"min_size": min(task.size), "max_size": max(task.size)}
    return {**numbers, **size, "box_batch_size_per_image": rois(task), "box_score_thresh": 0.05}


def v1(folder: Path, task: Task) -> FasterRCNN:
    """Build `fasterrcnn_resnet50_fpn` or `maskrcnn_...` with fixed batch norm: exactly our `faster`."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    model = (MaskRCNN if task.masks else FasterRCNN)(backbone, task.classes + 1, **_settings(task))
    model.load_state_dict(torch.load(folder / "torchvision.pth", weights_only=True))
    return model.eval()


def v2(folder: Path, task: Task) -> FasterRCNN:
    """Build `fasterrcnn_resnet50_fpn_v2` with the same backbone and random heads that are scaled in the same way."""
    path = folder / "torchvision_v2.pth"
    torch.manual_seed(0)
    model: Any = fasterrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, num_classes=task.classes + 1, **_settings(task)
    ).eval()
    for name, parameter in model.backbone.body.named_parameters():
        parameter.requires_grad_(not name.startswith(_FROZEN))
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model
    same = torch.load(folder / "torchvision.pth", weights_only=True)
    own = model.state_dict()
    model.load_state_dict({k: v for k, v in same.items() if k in own and own[k].shape == v.shape}, strict=False)
    photo = torch.load(folder / "photo.pth", weights_only=True).float() / 255

    @torch.no_grad()
    def run() -> None:
        model([photo])

    with torch.no_grad():
        take_statistics(model, run)
        spread(model.rpn.head.cls_logits, run, 2.0)
        spread(model.rpn.head.bbox_pred, run, 0.2)
        take_statistics(model.roi_heads, run)
        spread(model.roi_heads.box_predictor.cls_score, run, 1.5)
        spread(model.roi_heads.box_predictor.bbox_pred, run, 0.5)
        set_background(model.roi_heads.box_predictor.cls_score, run)
    torch.save(model.state_dict(), path)
    return model
