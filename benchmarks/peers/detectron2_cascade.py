"""detectron2's cascade (R50-FPN), with its own config except for what our weights and the photo require."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import Task

_RGB = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
_COMPUTED = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors")  # from the config


class Peer:
    """The model with the weights in the folder. Writes its config there, for `convert`."""

    def __init__(self, folder: Path, task: Task) -> None:
        from detectron2 import model_zoo  # pyright: ignore[reportMissingImports]
        from detectron2.modeling import build_model  # pyright: ignore[reportMissingImports]

        self.size = (task.size[0], task.size[1])
        settings = model_zoo.get_config("Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml")
        settings.MODEL.MASK_ON = task.masks
        settings.INPUT.MASK_FORMAT = "bitmask"
        settings.MODEL.DEVICE = "cpu"
        settings.MODEL.RESNETS.STRIDE_IN_1X1 = False
        settings.INPUT.FORMAT = "RGB"
        settings.MODEL.PIXEL_MEAN, settings.MODEL.PIXEL_STD = _RGB["mean"], _RGB["std"]
        settings.MODEL.ROI_HEADS.NUM_CLASSES = task.classes
        settings.MODEL.RPN.PRE_NMS_TOPK_TEST = settings.MODEL.RPN.POST_NMS_TOPK_TEST = task.proposals
        (folder / "detectron2.yaml").write_text(settings.dump())
        self.model: nn.Module = build_model(settings).eval()
        state = torch.load(folder / "detectron2.pth", weights_only=True)
        missing, left_over = self.model.load_state_dict(state, strict=False)
        wrong = [name for name in missing if not name.startswith(_COMPUTED)] + left_over
        if wrong:
            raise SystemExit(f"detectron2: the weights do not fit: {wrong}")

    @torch.inference_mode()
    def detect(self, image: Tensor) -> Callable[[], dict[str, Tensor]]:
        """Run detection on an image (3, H, W); return a function that converts the result to torchvision's format."""
        height, width = image.shape[1:]
        (found,) = self.model.eval()([{"image": image, "height": height, "width": width}])
        found = found["instances"]
        masks = {"masks": found.pred_masks[:, None]} if found.has("pred_masks") else {}
        boxes = found.pred_boxes.tensor
        return lambda: {"boxes": boxes, "scores": found.scores, "labels": found.pred_classes + 1} | masks

    def paste(self, masks: Tensor, boxes: Tensor) -> Tensor:
        """Paste maps (N, S, S) in boxes (N, 4) into the image of the task."""
        from detectron2.layers import paste_masks_in_image  # pyright: ignore[reportMissingImports]

        return paste_masks_in_image(masks, boxes, self.size)

    def loss(self, image: Tensor, target: dict[str, Tensor]) -> Tensor:
        """Return the sum of the losses in training."""
        from detectron2.structures import BitMasks, Boxes, Instances  # pyright: ignore[reportMissingImports]
        from detectron2.utils.events import EventStorage  # pyright: ignore[reportMissingImports]

        truth: Any = Instances(tuple(image.shape[1:]))
        truth.gt_boxes, truth.gt_classes = Boxes(target["boxes"]), target["labels"] - 1
        if "masks" in target:
            truth.gt_masks = BitMasks(target["masks"])
        with EventStorage():
            losses = self.model.train()([{"image": image, "instances": truth}])
        return torch.stack(list(losses.values())).sum()
