"""The two-stage detector; to follow an image through it, start at `forward`.

preprocess -> backbone -> feature pyramid (optional) -> RPN (proposals, H0) -> cascade (H1..HT) -> detections
B images · D detections
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

import torch
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.arguments import check_number, known_options
from cascade_rcnn.config import ModelConfig
from cascade_rcnn.config.checks import MOST
from cascade_rcnn.errors import UserError
from cascade_rcnn.heads.cascade import Cascade
from cascade_rcnn.images.inputs import ImageLike, spread
from cascade_rcnn.layers.settings import FixedSettings
from cascade_rcnn.models.folding import fold_norms, lower_weights
from cascade_rcnn.models.preprocess import MinSize, Preprocess
from cascade_rcnn.models.rpn import RegionProposalNetwork
from cascade_rcnn.models.targets import batch_targets
from cascade_rcnn.passes import Found, PredictOptions
from cascade_rcnn.passes.interface import on_cpu
from cascade_rcnn.passes.predict import predict_with
from cascade_rcnn.pasting import paste, paste_encoded
from cascade_rcnn.structures import Detections, ImageBatch, Proposals, Targets

if TYPE_CHECKING:
    import supervision


class Detector(FixedSettings):
    """A two-stage detector with the interface of torchvision's detection models.

    In training mode, `model(images, targets)` returns a dict of losses. In evaluation mode, `model(images)` returns a
    list of dicts with `boxes` (N, 4), XYXY in pixels of the input image, `scores` (N,) and `labels` (N,) in 1..M,
    sorted by score.

    >>> model = load("starter")
    >>> sorted(model([torch.rand(3, 120, 160)])[0])
    ['boxes', 'labels', 'scores']
    >>> people = model.predict("photo.jpg")  # supervision.Detections
    >>> set(people.data["class_name"].tolist())
    {'person'}

    `model.preprocess(images)` resizes, normalises and pads images into the dense batch of `features`, `propose`,
    `detect` and `proposals_after`.

    >>> batch = model.preprocess([torch.rand(3, 120, 160), torch.rand(3, 90, 200)])
    >>> found = model.detect(batch.pixels, batch.sizes)
    >>> found.boxes.shape == (2, found.scores.shape[1], 4)
    True
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
        """`tasks` are further predictions per region (`RoITask`), trained on the samples of the cascade's stages."""
        super().__init__()
        self.config = config
        self.preprocess = preprocess
        self.backbone = backbone
        self.pyramid = pyramid
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.tasks = nn.ModuleList(tasks)
        self.folded = False  # for inference, irreversibly

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Return losses in training mode, detections in evaluation mode.

        Images are (3, H, W), uint8 or floating point 0..1, of any size; targets have torchvision's format.
        """
        batch = self.preprocess(images)
        if not self.training:
            return to_list(self.detect(batch.pixels, batch.sizes), batch, self.config)
        if targets is None or len(targets) != len(images):
            raise UserError("in training mode the model needs targets, one dict per image; call model.eval() to detect")
        return self.losses(batch, self.targets(list(targets), batch))

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies and pickles hold: no compiled `detect`, which would run with this detector's weights."""
        return {name: value for name, value in super().__getstate__().items() if name != "detect"}

    def find(self, images: Sequence[Tensor], scale: float = 1.0, min_size: MinSize = "model") -> list[Found]:
        """Detect like `forward` in evaluation mode, but return masks as `Masks`, which need little memory.

        `scale` multiplies the size that images (3, H, W) are resized to, and `min_size` is as in `predict`.
        """
        batch = self.preprocess(images, min_size, scale)
        return to_list(self.detect(batch.pixels, batch.sizes), batch, self.config, encode=True)

    def for_inference(self, dtype: torch.dtype = torch.float32) -> Self:
        """Fold fixed normalisation into the convolutions, in place: faster, same detections, no longer trainable.

        With bfloat16 or float16, weights are stored in that dtype; the model must then be called under `torch.autocast`
        with the same dtype, which does not change the detections. Returns the detector itself.
        """
        self._fold()
        lower_weights(self, dtype)
        return self.eval().requires_grad_(False)

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Map normalised pixels (B, 3, H, W) to the pyramid's feature maps."""
        return self.pyramid(self.backbone(pixels))

    def targets(self, targets: Sequence[dict[str, Tensor]], images: ImageBatch) -> Targets:
        """Batch targets in torchvision's format, with the fields that the tasks need."""
        extras = [name for task in self.tasks for name in task.targets]  # type: ignore[union-attr]
        return batch_targets(targets, images, self.config.num_classes, extras)

    def losses(self, images: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Compute the losses of a dense batch: a dict by name."""
        features = self.features(images.pixels)
        proposals = self.propose(features, images.sizes)  # constants: no gradient flows into them
        losses = self.rpn.loss(self.rpn.anchors(features), partial(self.rpn.at, features), targets, images.sizes)
        trained = list(self.roi_heads.train_stages(features, proposals, targets, images.sizes))
        losses |= self.roi_heads.loss(trained)
        for task in self.tasks:
            losses |= task.loss(features, trained, targets)  # type: ignore[operator]
        return losses

    def propose(self, features: list[Tensor], sizes: Tensor) -> Proposals:
        """Compute the RPN's proposals from the feature maps."""
        logits, deltas = self.rpn(features)
        proposals, _ = self.rpn.propose(self.rpn.anchors(features), logits, deltas, sizes)
        return proposals

    def detect(self, pixels: Tensor, sizes: Tensor, proposals: Proposals | None = None, first: int = 1) -> Detections:
        """Run detection on a dense batch: (B, 3, H, W), sizes (B, 2) -> detections in pixels of this input.

        If `proposals` are given (from another model or stage, or with ground truth), they replace the RPN's and enter
        stage `first`: `detect(pixels, sizes, other.proposals_after(2, pixels, sizes))`.
        """
        features = self.features(pixels)
        proposals = self.propose(features, sizes) if proposals is None else proposals
        found = self.roi_heads(features, proposals, sizes, first)
        for task in self.tasks:
            found = task(features, found)
        return found

    def proposals_after(self, t: int, pixels: Tensor, sizes: Tensor) -> Proposals:
        """Return the boxes refined by stage t (1..T), in pixels of this input; t = 0: the RPN's proposals."""
        features = self.features(pixels)
        return self.roi_heads.proposals_after(t, features, self.propose(features, sizes), sizes)

    @overload
    def predict(
        self,
        images: ImageLike,
        threshold: float = 0.5,
        min_size: MinSize = "model",
        batch_size: int | None = None,
        **options: Unpack[PredictOptions],
    ) -> "supervision.Detections": ...
    @overload
    def predict(
        self,
        images: list[Any],
        threshold: float = 0.5,
        min_size: MinSize = "model",
        batch_size: int | None = None,
        **options: Unpack[PredictOptions],
    ) -> "list[supervision.Detections]": ...
    @overload
    def predict(
        self,
        images: Iterator[Any],
        threshold: float = 0.5,
        min_size: MinSize = "model",
        batch_size: int | None = None,
        **options: Unpack[PredictOptions],
    ) -> "Iterator[supervision.Detections]": ...

    @known_options
    def predict(
        self,
        images: Any,
        threshold: float = 0.5,
        min_size: MinSize = "model",
        batch_size: int | None = None,
        **options: Unpack[PredictOptions],
    ) -> Any:
        """Detect objects in one or several images, in any form listed in `cascade_rcnn.images.inputs`.

        The short side is resized to `min_size` pixels (None: no resizing; "model": the model's own setting). Returns
        `supervision.Detections` with scores of at least `threshold`: one for a single image, a list for a list, folder,
        glob or batch, and an iterator for any other iterable. `class_id` counts from 0 in the order of `class_names`,
        and `data["class_name"]` holds the names. `batch_size` defaults to 1 on a CPU, where larger batches gain
        nothing, and to 8 on a GPU. The detector itself is not modified, so other threads may use or train it.
        `options` are the fields of `cascade_rcnn.PredictOptions`: tiles, test-time augmentation, classes.
        """
        if min_size not in (None, "model"):
            check_number("min_size", min_size, 1, MOST, whole=True)
        given = spread(images)
        model = self._ready(fold=given.number != "one")

        @torch.inference_mode()
        def find(images: list[Tensor], scale: float = 1.0) -> list[Found]:
            return [on_cpu(one) for one in model.find(images, scale, min_size)]

        return predict_with(find, self.config, given, threshold, batch_size, self.preprocess.mean.device, options)

    def _ready(self, *, fold: bool) -> Self:
        """Return this detector if it can predict as is, else a copy in evaluation mode, optionally folded for speed."""
        compiled = "detect" in vars(self)  # with this detector's weights
        if not self.training and (compiled or not fold):
            return self
        model = deepcopy(self).eval()
        if fold:
            model._fold()
        return model

    def _fold(self) -> None:
        self.folded = True
        for part in self.children():
            if part is not self.backbone or self.config.backbone.folds:
                fold_norms(part)

    @property
    def class_names(self) -> list[str]:
        """The names of labels 1..M, in order."""
        return self.config.class_names


def to_list(
    found: Detections, images: ImageBatch, config: ModelConfig, *, encode: bool = False
) -> list[dict[str, Any]]:
    """Convert dense detections to torchvision's dicts, in pixels of the original images.

    Masks are probabilities (N, 1, H, W), or `Masks` with `encode`, which needs little memory.
    """
    scale = (images.original_sizes / images.sizes).flip(-1).repeat(1, 2)
    boxes = box_ops.clip(found.boxes * scale[:, None], images.original_sizes)
    numbers, sizes = found.valid.sum(dim=1).tolist(), images.original_sizes.tolist()  # valid slots come first
    return [
        {
            "boxes": boxes[i, :n],
            "scores": found.scores[i, :n],
            "labels": found.labels[i, :n],
            **{
                name: _restored(values[i, :n], boxes[i, :n], sizes[i], config, encode)
                if name == "masks"
                else values[i, :n]
                for name, values in found.extras.items()
            },
        }
        for i, n in enumerate(numbers)
    ]


def _restored(maps: Tensor, boxes: Tensor, size: list[float], config: ModelConfig, encode: bool) -> Any:
    """Paste masks (N, S, S) into the image: (N, 1, H, W), or encoded."""
    height, width, whole = int(size[0]), int(size[1]), config.pastes_whole_pixels
    if not encode:
        return paste(maps, boxes, height, width, whole=whole)[:, None]
    return paste_encoded(maps, boxes, height, width, whole=whole)
