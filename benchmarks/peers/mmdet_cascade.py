"""mmdetection's cascade (ResNet-50, Swin-T or ConvNeXt-T), with its own configs except for what the photo needs."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Task

# its configs with other backbones than a ResNet-50
_BACKBONES = {
    "swin_t": "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco",
    "convnext_tiny": "convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco",
}
_COMPUTED = ("num_batches_tracked", "relative_position_index")  # not in our networks


class Peer:
    """The model with the weights in the folder. Writes its config there, for `convert`."""

    def __init__(self, folder: Path, task: Task) -> None:
        from mmdet.registry import MODELS  # pyright: ignore[reportMissingImports]
        from mmdet.utils import register_all_modules  # pyright: ignore[reportMissingImports]
        from mmengine.config import Config  # pyright: ignore[reportMissingImports]
        from mmengine.hub import get_config  # pyright: ignore[reportMissingImports]

        register_all_modules()
        if task.backbone == "convnext_tiny":
            import_module("mmpretrain.models")  # registers the backbone
        settings = get_config("mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py").model
        if task.backbone in _BACKBONES:
            other = get_config(f"mmdet::{_BACKBONES[task.backbone]}.py").model
            settings.backbone, settings.neck.in_channels = other.backbone, other.neck.in_channels
        settings.backbone.init_cfg = None
        for head in settings.roi_head.bbox_head:
            head.num_classes = task.classes
        settings.test_cfg.rpn.nms_pre = settings.test_cfg.rpn.max_per_img = task.proposals
        Config({"model": settings}).dump(folder / "mmdet.py")
        self.model: Any = MODELS.build(settings).eval()
        state = torch.load(folder / "mmdet.pth", weights_only=True)
        missing, left_over = self.model.load_state_dict(state, strict=False)
        wrong = [name for name in missing if not name.endswith(_COMPUTED)] + left_over
        if wrong:
            raise SystemExit(f"mmdet: the weights do not fit: {wrong}")

    @torch.inference_mode()
    def detect(self, image: Tensor) -> Callable[[], dict[str, Tensor]]:
        """Run detection on an image (3, H, W); return a function that converts the result to torchvision's format."""
        (found,) = self.model.eval()(**self._batch(image), mode="predict")
        found = found.pred_instances
        return lambda: {"boxes": found.bboxes, "scores": found.scores, "labels": found.labels + 1}

    def loss(self, image: Tensor, target: dict[str, Tensor]) -> Tensor:
        """Return the sum of the losses in training."""
        losses = self.model.train()(**self._batch(image, target), mode="loss")
        return self.model.parse_losses(losses)[0]

    def _batch(self, image: Tensor, target: dict[str, Tensor] | None = None) -> dict[str, Any]:
        from mmdet.structures import DetDataSample  # pyright: ignore[reportMissingImports]
        from mmengine.structures import InstanceData  # pyright: ignore[reportMissingImports]

        shape = tuple(image.shape[1:])
        sample = DetDataSample(metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)})
        if target is not None:
            sample.gt_instances = InstanceData(bboxes=target["boxes"], labels=target["labels"] - 1)
        bgr = {"inputs": [image.flip(0)], "data_samples": [sample]}  # as its data loader reads files
        return self.model.data_preprocessor(bgr, training=target is not None)
