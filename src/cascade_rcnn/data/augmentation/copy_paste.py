"""Copy-paste (Ghiasi et al. 2021): paste objects of another image, cut out along their masks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from cascade_rcnn.config.augmentation import CopyPasteConfig
from cascade_rcnn.data.augmentation.geometry import Place
from cascade_rcnn.data.augmentation.mixing import LEAST_VISIBLE, take, union
from cascade_rcnn.data.targets import Sample, Target, apply
from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks


class CopyPaste:
    """Copy-paste with the parameters of `CopyPasteConfig`."""

    def __init__(self, config: CopyPasteConfig) -> None:
        self.probability, self.until = config.probability, config.until
        self.objects, self.scale = config.objects, config.scale

    def mix(self, image: Tensor, target: Target, another: Callable[[], Sample]) -> Sample:
        """Paste objects of another image, and cut what they occlude from the masks and boxes of this one."""
        check_masks(target)
        other, its = another()
        check_masks(its)
        placed, its = apply(self._place(other, (image.shape[1], image.shape[2])), other, its)
        chosen = (torch.rand(len(its["boxes"])) < self.objects) & (its["iscrowd"] == 0)
        if not chosen.any():
            return image, target
        pasted = take(its, chosen)
        over = _encoded(pasted["masks"]).union()
        covered = _covered(target, over) if len(target["boxes"]) else target
        return torch.where(over, placed, image), union([covered, pasted], target)

    def _place(self, image: Tensor, canvas: tuple[int, int]) -> Place:
        """Scale the sample to a fraction of the canvas, at a random position."""
        low, high = self.scale
        fit = min(whole / own for whole, own in zip(canvas, image.shape[1:], strict=True))
        fit *= low + (high - low) * float(torch.rand(()))
        height, width = (max(1, round(own * fit)) for own in image.shape[1:])
        down, right = torch.rand(2).tolist()
        return Place((height, width), (round((canvas[0] - height) * down), round((canvas[1] - width) * right)), canvas)


def check_masks(target: Target) -> None:
    """Raise UserError for objects without masks."""
    if len(target["boxes"]) and "masks" not in target:
        raise UserError(
            "augmentation copy_paste cuts objects out along their masks, but these annotations have none; omit it"
        )


def _encoded(masks: Any) -> Masks:
    return masks if isinstance(masks, Masks) else Masks.encode(masks.as_subclass(Tensor))


def _as(masks: Masks, like: Any) -> Any:
    if isinstance(like, Masks):
        return masks
    return tv_tensors.wrap(masks.dense().to(like.dtype), like=like)  # pyright: ignore[reportCallIssue]


def _covered(target: Target, over: Tensor) -> Target:
    """Cut what `over` (H, W) occludes from masks and boxes, and drop almost hidden objects and hidden crowds."""
    before = _encoded(target["masks"])
    left = before.without(over)
    pixels, remaining = before.areas(), left.areas()
    share = remaining / pixels.clamp(min=1)
    changed = (remaining < pixels) & (remaining > 0)
    boxes = target["boxes"].clone()
    if changed.any():
        tight = left.boxes()[changed]
        low, high = torch.maximum(tight[:, :2], boxes[changed, :2]), torch.minimum(tight[:, 2:], boxes[changed, 2:])
        boxes[changed] = torch.cat((low, high), dim=1).to(boxes.dtype)
    changes = {"boxes": boxes, "masks": _as(left, target["masks"])}
    if "area" in target:
        changes["area"] = target["area"] * share.to(target["area"].dtype)
    crowds = (target["iscrowd"] > 0) & (remaining > 0)
    beside = (boxes[:, 2:] <= boxes[:, :2]).any(dim=1)  # masks consist of whole pixels, and may exceed a small box
    return take(target | changes, ((share >= LEAST_VISIBLE) | (pixels == 0) | crowds) & ~beside)
