"""Annotations and image files as a torch data set with torchvision's detection targets."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.check import size_differs
from cascade_rcnn.errors import UserError
from cascade_rcnn.images import read_image

Target: TypeAlias = dict[str, Tensor]
Transforms: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]  # of torchvision.transforms.v2: (image, target)
PER_BOX = ("boxes", "labels", "area", "iscrowd")


class DetectionDataset(Dataset[tuple[Tensor, Target]]):
    """`dataset[i]` or `dataset[i, seed]` is an image, uint8 (3, H, W), and its target:

    boxes (G, 4) float32 XYXY inside the image, labels (G,) int64 of 1..M, area (G,) float32 as in the file,
    iscrowd (G,) int64 (1 for every ignored box), image_id () int64.
    Boxes of no size inside the image are left out. With a seed, `transforms` draw from it alone, so that a sample
    depends on nothing but (index, seed), and the caller's random state stays as it was.
    """

    def __init__(self, annotations: Annotations, transforms: Transforms | None = None):
        self.annotations = annotations
        self.transforms = transforms

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int | tuple[int, int]) -> tuple[Tensor, Target]:
        """Raise UserError naming an image file that is missing, broken, or of another size than annotated."""
        i, seed = index if isinstance(index, tuple) else (index, None)
        image = self._image(i)
        target = _inside(self._target(i), *image.shape[1:])
        if self.transforms is None:
            return image, target
        image, target = _transform(self.transforms, image, target, seed)
        return image, _inside(target, *image.shape[1:])

    def _image(self, i: int) -> Tensor:
        path = self.annotations.path(i)
        image = read_image(path, max_megapixels=None)  # `check_images` has compared it with the caller's limit
        height, width = self.annotations.image_sizes[i].tolist()
        if image.shape[1:] != (height, width):
            raise UserError(size_differs(path, (image.shape[1], image.shape[2]), (height, width)))
        return image

    def _target(self, i: int) -> Target:
        rows = self.annotations.rows(i)
        corner, size = self.annotations.boxes[rows].split(2, dim=1)
        return {
            "boxes": torch.cat((corner, corner + size), dim=1).float(),
            "labels": self.annotations.labels[rows].long(),
            "area": self.annotations.areas[rows].float(),
            "iscrowd": self.annotations.ignore[rows].long(),
            "image_id": self.annotations.image_ids[i].clone(),
        }


def _transform(transforms: Transforms, image: Tensor, target: Target, seed: int | None) -> tuple[Tensor, Target]:
    boxes = tv_tensors.BoundingBoxes(  # pyright: ignore[reportCallIssue]
        target["boxes"], format="XYXY", canvas_size=(image.shape[1], image.shape[2])
    )
    sample = tv_tensors.Image(image), target | {"boxes": boxes}
    if seed is None:
        image, target = transforms(*sample)
    else:
        # Not torch.manual_seed, which would also seed the GPU's generator in a process that trains on it.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            image, target = transforms(*sample)
    return image.as_subclass(Tensor), {key: value.as_subclass(Tensor) for key, value in target.items()}


def _inside(target: Target, height: int, width: int) -> Target:
    """Clip boxes to the image and drop those without size from every per-box field."""
    lengths = {key: len(target[key]) for key in PER_BOX}
    if len(set(lengths.values())) > 1:
        raise UserError(f"the transforms left {lengths}; a transform that drops boxes must drop from all of these")
    xs, ys = target["boxes"][:, 0::2].clamp(0, width), target["boxes"][:, 1::2].clamp(0, height)
    boxes = torch.stack((xs, ys), dim=2).flatten(1)
    keep = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return target | {key: (boxes if key == "boxes" else target[key])[keep] for key in PER_BOX}
