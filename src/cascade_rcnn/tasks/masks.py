"""Instance masks (Mask R-CNN, He et al. 2017), with one head for each of the chosen stages.

B images · D detections · R = B * D rows, or positives in training · C channels · S bins per side of a mask · M classes
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.config import MaskConfig
from cascade_rcnn.layers.convolution import Conv2d, DoublingConv2d
from cascade_rcnn.layers.initialization import he_normal_
from cascade_rcnn.layers.normalization import RoIBatchNorm2d, make_norm
from cascade_rcnn.structures import Detections, Targets, TrainedOn
from cascade_rcnn.tasks.mask_targets import mask_targets


class MaskHead(nn.Module):
    """3x3 convolutions on pooled features, a transposed convolution to twice the resolution, and one map per class."""

    def __init__(self, channels: int, num_classes: int, config: MaskConfig) -> None:
        """`channels` is the width of the pooled features."""
        super().__init__()
        self.config = config
        for k in range(1, config.convs + 1):
            self.add_module(f"conv{k}", Conv2d(channels, config.channels, 3, padding=1, bias=config.norm is None))
            if config.norm is not None:
                self.add_module(f"bn{k}", make_norm(config.norm, config.channels, of_rois=True))
            channels = config.channels
        self.deconv = DoublingConv2d(channels, config.channels)
        self.predictor = nn.Conv2d(config.channels, 1 if config.class_agnostic else num_classes, 1)
        for layer in self.children():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                he_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.predictor.weight, std=0.001)

    def forward(self, x: Tensor, labels: Tensor, present: Tensor | None = None) -> Tensor:
        """Map pooled features (R, C, S / 2, S / 2) and labels (R,) in 1..M to float32 mask logits (R, S, S).

        `present` (R,) bool marks the rows that batch normalisation counts; None: all.
        """
        for k in range(1, self.config.convs + 1):
            x = getattr(self, f"conv{k}")(x)
            if self.config.norm is not None:
                norm = getattr(self, f"bn{k}")
                x = norm(x, present) if isinstance(norm, RoIBatchNorm2d) else norm(x)
            x = F.relu_(x)
        x = F.relu_(self.deconv(x))
        row = torch.zeros_like(labels) if self.config.class_agnostic else (labels - 1).clamp(min=0)
        weight = self.predictor.weight.flatten(1)[row]  # compute only the map of the label
        assert self.predictor.bias is not None
        logits = (weight[:, None] @ x.flatten(2)).squeeze(1).float() + self.predictor.bias[row, None].float()
        return logits.unflatten(1, x.shape[2:])


class MaskTask(nn.Module):
    """Train one mask head per configured stage, on that stage's positives; average the heads at inference."""

    targets: tuple[str, ...] = ("masks",)

    def __init__(self, pool: nn.Module, channels: int, num_classes: int, config: MaskConfig) -> None:
        """`pool` maps (features, boxes) to (R, channels, S / 2, S / 2)."""
        super().__init__()
        self.pool, self.config = pool, config
        self.heads = nn.ModuleList(MaskHead(channels, num_classes, config) for _ in config.stages)

    def loss(self, features: list[Tensor], trained: Sequence[TrainedOn], targets: Targets) -> dict[str, Tensor]:
        """Compute each head's binary cross-entropy on the map of the true class, averaged over the positives."""
        table = self.pool.table(features)  # type: ignore[operator]
        losses = {}
        for head, stage, weight in zip(self.heads, self.config.stages, self.config.weights, strict=True):
            suffix = f"_stage{stage}" if len(self.heads) > 1 else ""
            losses[f"loss_mask{suffix}"] = weight * self._risk(head, table, trained[stage - 1], targets)
        return losses

    def _risk(self, head: nn.Module, table: object, trained: TrainedOn, targets: Targets) -> Tensor:
        positive = (trained.labels > 0) & trained.valid
        number = max(1, int(positive.sum(dim=1).max()))
        rows = positive.byte().topk(number, dim=1).indices  # each image's positives, or one row of weight 0
        chosen = positive.gather(1, rows)
        boxes, labels = box_ops.gather(trained.output.boxes, rows), trained.labels.gather(1, rows)
        keep = chosen.flatten().nonzero()[:, 0]
        some = len(keep) > 0
        keep = keep if some else torch.zeros_like(rows[0, :1])
        pooled = self.pool(table, boxes.masked_fill(~chosen[..., None], 0.0))[keep]
        logits = head(pooled, labels.flatten()[keep], None if some else chosen.flatten()[keep])
        with torch.no_grad():
            image = torch.arange(len(boxes), device=keep.device)[:, None].expand_as(rows).flatten()[keep]
            matched = trained.matched.gather(1, rows).flatten()[keep]
            own = boxes.flatten(0, 1)[keep]
            own = own if targets.scale is None else own / targets.scale[image].repeat(1, 2)
            soft = self.config.targets == "soft"
            masks = targets.extras["masks"]
            wanted = mask_targets(masks, image, matched, own, self.config.resolution, soft=soft)  # type: ignore[arg-type]
        loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(dim=(1, 2))
        return (loss * chosen.flatten()[keep]).mean()

    def forward(self, features: list[Tensor], found: Detections) -> Detections:
        """Add `masks` to the detections: probabilities (B, D, S, S) within each box; anything in empty slots."""
        boxes, labels, slots = found.boxes, found.labels, found.labels.shape[1]
        if boxes.device.type == "cpu" and not torch.compiler.is_compiling():
            used = max(1, int(found.valid.sum(dim=1).max()))  # empty slots come last, and cost nothing
            boxes, labels = boxes[:, :used], labels[:, :used]
        pooled = self.pool(features, boxes)
        masks = torch.stack([head(pooled, labels.flatten()).sigmoid() for head in self.heads]).mean(dim=0)
        masks = masks.unflatten(0, labels.shape)
        masks = F.pad(masks, (0, 0, 0, 0, 0, slots - labels.shape[1]))
        extras = {**found.extras, "masks": masks}
        # Not `_replace`, which torch 2.11 cannot compile.
        return Detections(found.boxes, found.scores, found.labels, found.valid, extras)
