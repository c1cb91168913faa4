"""A torch dataset of annotations and image files with torchvision's detection targets."""

from copy import copy
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from cascade_rcnn.boxes import from_xywh
from cascade_rcnn.data.annotations import Annotations, check_annotations
from cascade_rcnn.data.augmentation.build import Augmentation
from cascade_rcnn.data.check import size_differs
from cascade_rcnn.data.seeding import seeded
from cascade_rcnn.data.segmentations import Segmentations
from cascade_rcnn.data.targets import Sample, Target, Transforms, apply, inside, masks_as_crowds, plain
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.tensors import read_image, to_tensor


class Dataset(TorchDataset[Sample]):
    """Images and targets of `Annotations`, in the format of torchvision's detectors.

    `dataset[i]` is an image, uint8 (3, H, W), and its target, a dict of

    - boxes: (G, 4) float32, XYXY in pixels, clipped to the image
    - labels: (G,) int64, in 1..M
    - area: (G,) float32, as in the annotations
    - iscrowd: (G,) int64, 1 for boxes that are ignored
    - image_id: () int64
    - masks: `Masks`, whose `dense()` is (G, H, W), if the annotations have any; objects without a mask are ignored

    Objects whose box or mask is empty after clipping are dropped.

    `transforms` come from torchvision.transforms.v2 or `build_augmentation`. In `dataset[i, seed]` they draw from this
    seed alone, so that a sample depends only on (index, seed), and the caller's random state is preserved. In
    `dataset[i, seed, progress]`, the third number is the fraction of the training run that has passed: some
    augmentations stop before the end.

    >>> dataset = Dataset(load_annotations("shapes/val.json"))
    >>> image, target = dataset[0]
    >>> image.shape, image.dtype
    (torch.Size([3, 96, 96]), torch.uint8)
    >>> sorted(target)
    ['area', 'boxes', 'image_id', 'iscrowd', 'labels']

    A loader for a custom training loop:

    >>> from torch.utils.data import DataLoader
    >>> loader = DataLoader(dataset, batch_size=2, collate_fn=lambda batch: tuple(zip(*batch)))
    >>> images, targets = next(iter(loader))
    >>> len(images), len(targets)
    (2, 2)
    """

    def __init__(self, annotations: Annotations, transforms: Transforms | Augmentation | None = None) -> None:
        check_annotations(annotations)
        self.annotations = annotations
        self.transforms = transforms

    def with_transforms(self, transforms: Transforms | Augmentation | None) -> Self:
        """Return a copy with other transforms."""
        other = copy(self)
        other.transforms = transforms
        return other

    def with_segmentations(self, segmentations: Segmentations | None) -> Self:
        """Return a copy whose annotations have these outlines of their objects, or none."""
        other = copy(self)
        other.annotations = replace(self.annotations, segmentations=segmentations)
        return other

    def for_evaluation(self) -> Self:
        """Return the dataset for an evaluation, which compares its items with its annotations."""
        return self

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int | tuple[int, int] | tuple[int, int, float]) -> Sample:
        """Return image and target. Raises UserError if the file is missing, damaged, or not of the annotated size."""
        i, seed, *rest = index if isinstance(index, tuple) else (index, None)
        progress = rest[0] if rest else 0.0
        with seeded(seed):
            image, target = self._inside(i)
            if isinstance(self.transforms, Augmentation):
                image, target = self.transforms.sample(image, target, self._draw, progress)
            elif self.transforms is not None:
                image, target = apply(self.transforms, image, target)
                image = _image_of(image)
        return image, plain(target)

    def _draw(self) -> Sample:
        """Return a random sample, for augmentations that mix images."""
        return self._inside(int(torch.randint(len(self), ())))

    def _inside(self, i: int) -> Sample:
        """Return image and target, with boxes clipped to the image."""
        image, target = self._read(i)
        return image, inside(masks_as_crowds(target), *image.shape[1:])

    def _read(self, i: int) -> Sample:
        """Return image and target as annotated."""
        return self._image(i), self._target(i)

    def _image(self, i: int) -> Tensor:
        path = self.annotations.path(i)
        image = read_image(path, max_megapixels=None)  # `check_images` has applied the caller's limit
        height, width = self.annotations.image_sizes[i].tolist()
        if image.shape[1:] != (height, width):
            raise UserError(size_differs(path, (image.shape[1], image.shape[2]), (height, width)))
        return image

    def _target(self, i: int) -> Target:
        rows, outlines = self.annotations.rows(i), self.annotations.segmentations
        height, width = self.annotations.image_sizes[i].tolist()
        masks = {} if outlines is None else {"masks": outlines.masks(range(rows.start, rows.stop), height, width)}
        return {
            "boxes": from_xywh(self.annotations.boxes[rows]).float(),
            "labels": self.annotations.labels[rows].long(),
            "area": self.annotations.areas[rows].float(),
            "iscrowd": self.annotations.ignore[rows].long(),
            "image_id": self.annotations.image_ids[i].clone(),
            **masks,
        }


def _image_of(transformed: Tensor) -> Tensor:
    """Return what transforms made of an image. Raises UserError if it is not one any more, such as a normalised one."""
    try:
        return to_tensor(transformed)
    except UserError as error:
        raise UserError(f"after the transforms, {error}") from None


DetectionDataset = Dataset  # its name in version 0.1
