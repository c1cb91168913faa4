"""Augmentations that mix images of the dataset: mosaic and mixup.

The other images are drawn with the sample's own seed, so that a sample depends only on its index, its seed and the
progress of training, whatever the number of workers.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torchvision import tv_tensors

from cascade_rcnn.config.augmentation import MixUpConfig, MosaicConfig
from cascade_rcnn.data.augmentation.geometry import Place, box_areas
from cascade_rcnn.data.targets import Sample, Target, apply, per_box, take_rows
from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks

LEAST_VISIBLE = 0.1  # fraction of an object that must be visible to keep its box
_CENTRE = (0.25, 0.75)  # range of the centre of a mosaic, as fractions of the canvas


@runtime_checkable
class Mixing(Protocol):
    """An augmentation that mixes an image with others.

    It is applied with `probability` to each image, during the fraction `until` of the training run.
    """

    probability: float
    until: float

    def mix(self, image: Tensor, target: Target, another: Callable[[], Sample]) -> Sample:
        """Mix a sample with others; each call of `another` draws one, of the same type."""
        ...


class Mosaic:
    """A mosaic of four images with the parameters of `MosaicConfig`."""

    def __init__(self, config: MosaicConfig) -> None:
        self.probability, self.until, self.scale = config.probability, config.until, config.scale

    def mix(self, image: Tensor, target: Target, another: Callable[[], Sample]) -> Sample:
        """Place the image at the top left, and others at the top right, bottom left and bottom right."""
        height, width = image.shape[1:]
        low, high = _CENTRE
        y, x = (
            round(n * (low + (high - low) * p)) for n, p in zip((height, width), torch.rand(2).tolist(), strict=True)
        )
        windows = ((0, 0, y, x), (0, x, y, width), (y, 0, height, x), (y, x, height, width))
        canvas, targets = torch.empty_like(image), []
        for k, window in enumerate(windows):
            one, its = (image, target) if k == 0 else another()
            top, left, bottom, right = window
            step = self._place(one, (height, width), window)
            placed, kept = visible(step, one, its)
            canvas[:, top:bottom, left:right] = placed[:, top:bottom, left:right]
            targets.append(kept)
        return canvas, union(targets, target)

    def _place(self, image: Tensor, canvas: tuple[int, int], window: tuple[int, int, int, int]) -> Place:
        """Scale a sample and align its inner corner with the centre of the mosaic."""
        top, left, bottom, right = window
        low, high = self.scale
        sizes = list(zip(canvas, image.shape[1:], strict=True))
        fit = min(whole / own for whole, own in sizes) * (low + (high - low) * float(torch.rand(())))
        fill = max((bottom - top) / image.shape[1], (right - left) / image.shape[2])
        resized = tuple(max(1, round(own * max(fit, fill))) for own in image.shape[1:])
        corner = (bottom - resized[0] if top == 0 else top, right - resized[1] if left == 0 else left)
        return Place((resized[0], resized[1]), corner, canvas, window)


class MixUp:
    """A blend of two images with the parameters of `MixUpConfig`."""

    def __init__(self, config: MixUpConfig) -> None:
        self.probability, self.until, self.alpha = config.probability, config.until, config.alpha

    def mix(self, image: Tensor, target: Target, another: Callable[[], Sample]) -> Sample:
        """Blend two images, aligned at the top left of a canvas that fits both."""
        other, its = another()
        canvas = (max(image.shape[1], other.shape[1]), max(image.shape[2], other.shape[2]))
        alpha = torch.tensor(self.alpha)
        weight = float(torch.distributions.Beta(alpha, alpha).sample())
        placed = [
            apply(Place((one.shape[1], one.shape[2]), (0, 0), canvas), one, target_of)
            for one, target_of in ((image, target), (other, its))
        ]
        mean = weight * placed[0][0].float() + (1 - weight) * placed[1][0].float()
        mean = mean if image.is_floating_point() else mean.round().to(torch.uint8)
        return mean, union([placed[0][1], placed[1][1]], target)


def visible(step: Place, image: Tensor, target: Target) -> Sample:
    """Place a sample, and drop objects with a visible fraction below `LEAST_VISIBLE`, but no part of a crowd."""
    scale = step.resized[0] * step.resized[1] / (image.shape[1] * image.shape[2])
    whole = box_areas(target["boxes"]) * scale
    placed, kept = apply(step, image, target | {_WHOLE: whole})
    left = (box_areas(kept["boxes"]) >= LEAST_VISIBLE * kept[_WHOLE]) | (kept["iscrowd"] > 0)
    return placed, {name: value for name, value in take(kept, left).items() if name != _WHOLE}


_WHOLE = "area_before_it_is_cut"  # a temporary per-box field


def take(target: Target, rows: Tensor) -> Target:
    """Select rows of every per-box field."""
    return target | {name: take_rows(target[name], rows) for name in per_box(target)}


def union(targets: Sequence[Target], first: Target) -> Target:
    """Return a target with all objects of `targets`, and the fields of `first` that concern the whole image.

    Raises UserError if some objects have a per-box field that others lack.
    """
    filled = [target for target in targets if len(target["boxes"])]
    if not filled:
        return first | targets[0]
    names = set.intersection(*(set(per_box(target)) for target in filled))
    odd = set().union(*(per_box(target) for target in filled)) - names
    if odd:
        fields = ", ".join(sorted(odd))
        raise UserError(
            f"images cannot be mixed: only some of their objects have {fields}; remove it, or add it to all"
        )
    return first | {name: _joined([one[name] for one in filled]) for name in names}


def _joined(values: Sequence[Any]) -> Any:
    if isinstance(values[0], Masks):
        return Masks.cat(values)
    whole, like = torch.cat([value.as_subclass(Tensor) for value in values]), values[0]
    return tv_tensors.wrap(whole, like=like) if isinstance(like, tv_tensors.TVTensor) else whole  # pyright: ignore
