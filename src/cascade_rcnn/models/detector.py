"""The two-stage detector: follow an image through `forward`.

preprocess -> backbone -> pyramid (or the maps as they are) -> RPN (proposals, H0) -> cascade (H1..HT) -> detections.
B images · D detections
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import torch
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.config import ModelConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.heads.cascade import Cascade
from cascade_rcnn.images import to_tensor
from cascade_rcnn.inputs import ImageLike, spread
from cascade_rcnn.models.folding import fold_norms, lower_weights
from cascade_rcnn.models.preprocess import MinSize, Preprocess
from cascade_rcnn.models.rpn import RegionProposalNetwork
from cascade_rcnn.results import to_supervision
from cascade_rcnn.structures import Detections, ImageBatch, Proposals, Targets

if TYPE_CHECKING:
    import supervision


class Detector(nn.Module):
    """A two-stage detector with torchvision's detection contract.

    In training mode `model(images, targets)` returns a dict of losses, in evaluation mode `model(images)` returns a
    list of dicts `boxes` (N, 4) XYXY in pixels of the image given, `scores` (N,), `labels` (N,) in 1..M, best first.

    >>> model = load("starter")
    >>> sorted(model([torch.rand(3, 120, 160)])[0])
    ['boxes', 'labels', 'scores']
    >>> people = model.predict("photo.jpg")  # supervision.Detections
    >>> set(people.data["class_name"].tolist())
    {'person'}
    """

    def __init__(
        self,
        config: ModelConfig,
        preprocess: Preprocess,
        backbone: nn.Module,
        pyramid: nn.Module,
        rpn: RegionProposalNetwork,
        roi_heads: Cascade,
        tasks: Sequence[nn.Module] = (),
    ) -> None:
        """tasks: what more each region is asked (`RoITask`), trained on what the cascade's stages are."""
        super().__init__()
        self.config = config
        self.preprocess = preprocess
        self.backbone = backbone
        self.pyramid = pyramid
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.tasks = nn.ModuleList(tasks)

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Images (3, H, W), uint8 or floating point 0..1, of any size each; targets as torchvision's."""
        if len(images) == 0:
            raise UserError("the list of images is empty; give at least one image")
        if self.training and (targets is None or len(targets) != len(images)):
            raise UserError("in training mode the model needs targets, one dict an image; call model.eval() to detect")
        batch = self.preprocess(list(images))
        if self.training:
            assert targets is not None
            return self.losses(batch, self.preprocess.targets(list(targets), batch))
        return to_list(self.detect(batch.pixels, batch.sizes), batch)

    def for_inference(self, dtype: torch.dtype = torch.float32) -> Self:
        """Fold fixed normalisation into the convolutions, in place: faster, the same detections, no more training.

        With bfloat16 or float16 the weights are stored so; from then on call it under `torch.autocast` to that dtype,
        which finds what it found before. Returns the detector itself.
        """
        self._fold()
        lower_weights(self, dtype)
        return self.eval().requires_grad_(False)

    def features(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W), normalised -> the pyramid's maps."""
        return self.pyramid(self.backbone(pixels))

    def losses(self, images: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """The losses of a dense batch, by name."""
        features = self.features(images.pixels)
        proposals = self.propose(features, images.sizes)  # constants: no gradient flows into them
        losses = self.rpn.loss(self.rpn.anchors(features), partial(self.rpn.at, features), targets, images.sizes)
        trained = list(self.roi_heads.train_stages(features, proposals, targets, images.sizes))
        losses |= self.roi_heads.loss(trained)
        for task in self.tasks:
            losses |= task.loss(features, trained, targets)  # type: ignore[operator]
        return losses

    def propose(self, features: list[Tensor], sizes: Tensor) -> Proposals:
        """The RPN's proposals, from the pyramid's maps."""
        logits, deltas = self.rpn(features)
        proposals, _ = self.rpn.propose(self.rpn.anchors(features), logits, deltas, sizes)
        return proposals

    def detect(self, pixels: Tensor, sizes: Tensor, proposals: Proposals | None = None, first: int = 1) -> Detections:
        """The dense detector: (B, 3, H, W), sizes (B, 2) -> detections in pixels of this input.

        Proposals given (another model's, another stage's, with ground truth) stand in for the RPN's and enter stage
        `first`: `detect(pixels, sizes, other.proposals_after(2, pixels, sizes))`.
        """
        features = self.features(pixels)
        proposals = self.propose(features, sizes) if proposals is None else proposals
        found = self.roi_heads(features, proposals, sizes, first)
        for task in self.tasks:
            found = task(features, found)
        return found

    def proposals_after(self, t: int, pixels: Tensor, sizes: Tensor) -> Proposals:
        """The boxes that stage t (1..T) hands on, in pixels of this input; t = 0: the RPN's proposals."""
        features = self.features(pixels)
        return self.roi_heads.proposals_after(t, features, self.propose(features, sizes), sizes)

    @overload
    def predict(
        self, images: ImageLike, threshold: float = 0.5, min_size: MinSize = "model", batch_size: int | None = None
    ) -> "supervision.Detections": ...
    @overload
    def predict(
        self, images: list[Any], threshold: float = 0.5, min_size: MinSize = "model", batch_size: int | None = None
    ) -> "list[supervision.Detections]": ...
    @overload
    def predict(
        self, images: Iterator[Any], threshold: float = 0.5, min_size: MinSize = "model", batch_size: int | None = None
    ) -> "Iterator[supervision.Detections]": ...

    def predict(
        self, images: Any, threshold: float = 0.5, min_size: MinSize = "model", batch_size: int | None = None
    ) -> Any:
        """Detect in an image, or in several: whatever `cascade_rcnn.inputs` describes, from a path to a generator.

        The short side is resized to `min_size` pixels (None: not at all; "model": as the model has it). Returns
        `supervision.Detections` of the boxes scored `threshold` or more: one for one image, a list for a list, folder,
        glob or batch, an iterator for any other iterable. `class_id` counts from 0 in the order of `class_names`, and
        `data["class_name"]` holds the names. `batch_size` images go through at once, by default 1 on a CPU, where more
        gain nothing, and 8 on a GPU. The detector itself stays as it is, so that other threads may use or train it.
        """
        given = spread(images)
        model = self._ready(fold=given.number != "one")

        @torch.inference_mode()
        def detect(batch: list[ImageLike]) -> "list[supervision.Detections]":
            prepared = model.preprocess([to_tensor(image) for image in batch], min_size)
            found = to_list(model.detect(prepared.pixels, prepared.sizes), prepared)
            return [to_supervision(to_numpy(one), self.class_names, threshold) for one in found]

        default = 8 if self.preprocess.mean.is_cuda else 1
        return given.map(detect, default if batch_size is None else batch_size)

    def _ready(self, *, fold: bool) -> Self:
        """This detector where it can predict as it is, else a copy in evaluation mode, for many images a faster one."""
        if not self.training and not fold:
            return self
        model = deepcopy(self).eval()
        if fold:
            model._fold()
        return model

    def _fold(self) -> None:
        for part in self.children():
            if part is not self.backbone or self.config.backbone.folds:
                fold_norms(part)

    @property
    def class_names(self) -> list[str]:
        """Names of labels 1..M, in order."""
        return [category.name for category in self.config.categories]


def to_list(found: Detections, images: ImageBatch) -> list[dict[str, Tensor]]:
    """The border on the way out: dense detections -> torchvision's dicts, in pixels of the original images."""
    scale = (images.original_sizes / images.sizes).flip(-1).repeat(1, 2)
    boxes = box_ops.clip(found.boxes * scale[:, None], images.original_sizes)
    numbers = found.valid.sum(dim=1).tolist()  # the valid slots are the first
    return [
        {
            "boxes": boxes[i, :n],
            "scores": found.scores[i, :n],
            "labels": found.labels[i, :n],
            **{name: values[i, :n] for name, values in found.extras.items()},
        }
        for i, n in enumerate(numbers)
    ]


def to_numpy(found: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """One of torchvision's dicts as arrays, float32 and int64."""
    return {name: (x.float() if x.is_floating_point() else x).cpu().numpy() for name, x in found.items()}
