"""The region proposal network, H0 in Figure 3: objectness and box deltas of anchors, and the proposals they give.

B images · L levels · A anchors over all levels (ordered by y, x, size, ratio within a level) · K proposals · S samples
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn import losses
from cascade_rcnn.box_coder import BoxCoder
from cascade_rcnn.config import AnchorConfig, RPNConfig, SemanticsConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.layers.convolution import Conv2d
from cascade_rcnn.matching import Matches, match
from cascade_rcnn.nms import keep_mask
from cascade_rcnn.protocols import BoxLoss
from cascade_rcnn.sampling import Sample, sample
from cascade_rcnn.structures import Proposals, Targets


def base_anchors(config: AnchorConfig, level: int) -> Tensor:
    """Return one level's anchors at the origin, (sizes * ratios, 4), with area size^2 and height / width = ratio."""
    rows = []
    for size in config.levels[level]:
        for ratio in config.ratios:
            width, height = size / math.sqrt(ratio), size * math.sqrt(ratio)
            rows.append((-width / 2, -height / 2, width / 2, height / 2))
    anchors = torch.tensor(rows)
    return anchors.round() if config.rounded else anchors


def grid_anchors(base: Tensor, height: int, width: int, step_y: int, step_x: int, offset: float = 0.0) -> Tensor:
    """Return the anchors of a whole map, (height * width * len(base), 4), centred on (i + offset) * step."""
    y = (torch.arange(height, device=base.device, dtype=base.dtype) + offset) * step_y
    x = (torch.arange(width, device=base.device, dtype=base.dtype) + offset) * step_x
    y, x = y[:, None].expand(height, width), x.expand(height, width)
    shift = torch.stack([x, y, x, y], dim=-1)
    return (shift[:, :, None] + base).flatten(0, 2)


Outputs: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]  # anchors (B, S) -> logits (B, S), deltas (B, S, 4)
_WORTHWHILE = 2  # an anchor computed separately costs about this many times its share of a whole map


def gathered(logits: list[Tensor], deltas: list[Tensor]) -> Outputs:
    """Return a function that selects from the outputs of `forward` for all anchors."""
    logit, delta = torch.cat(logits, dim=1), torch.cat(deltas, dim=1)
    return lambda rows: (logit.gather(1, rows), box_ops.gather(delta, rows))


class RegionProposalNetwork(nn.Module):
    """3x3 convolutions, then objectness and box deltas per anchor; weights are per level, or shared by all levels."""

    def __init__(
        self,
        channels: int,
        strides: tuple[int, ...],
        config: RPNConfig,
        box_loss: BoxLoss,
        semantics: SemanticsConfig,
        padding: int,
    ) -> None:
        """`channels` and `strides` are the feature maps'; the first ones, one per anchor level, are used.

        `padding` is the divisor of the padded images' height and width.
        """
        super().__init__()
        self.config, self.semantics, self.box_loss, self.padding = config, semantics, box_loss, padding
        self.coder = BoxCoder(clamp_shrink=semantics.clamp_shrink)
        self.strides = strides[: len(config.anchors.sizes)]
        anchors = [len(sizes) * len(config.anchors.ratios) for sizes in config.anchors.levels]
        if config.shared and len(set(anchors)) > 1:
            raise UserError(f"an RPN shared by all levels needs the same number of anchors at each; it has {anchors}")
        width = config.channels or channels
        self.conv = self._layers([_tower(channels, width, config.convs) for _ in anchors])
        self.objectness = self._layers([Conv2d(width, a, 1) for a in anchors])
        self.deltas = self._layers([Conv2d(width, 4 * a, 1) for a in anchors])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for level in range(len(self.strides)):
            self.register_buffer(f"base{level}", base_anchors(config.anchors, level), persistent=False)

    def _layers(self, of_level: list[nn.Module]) -> nn.Module:
        return of_level[0] if self.config.shared else nn.ModuleList(of_level)

    def _of_level(self, level: int) -> tuple[list[nn.Conv2d], nn.Conv2d, nn.Conv2d]:
        """Return the 3x3 convolutions and the two output layers of a level."""
        conv, objectness, deltas = (
            m[level] if isinstance(m, nn.ModuleList) else m for m in (self.conv, self.objectness, self.deltas)
        )
        return list(conv) if isinstance(conv, nn.Sequential) else [conv], objectness, deltas  # type: ignore[list-item]

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return objectness logits (B, A_l) and deltas (B, A_l, 4) per level."""
        logits, deltas = [], []
        for level, x in enumerate(features[: len(self.strides)]):
            convs, objectness, delta = self._of_level(level)
            for layer in convs:
                x = F.relu_(layer(x))
            logits.append(objectness(x).permute(0, 2, 3, 1).flatten(1).float())
            deltas.append(delta(x).permute(0, 2, 3, 1).unflatten(3, (-1, 4)).flatten(1, 3).float())
        return logits, deltas

    def at(self, features: list[Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the outputs for selected anchors, indices `rows` (B, S) into A: logits (B, S) and deltas (B, S, 4).

        A training step samples a few hundred of a hundred thousand anchors; the others do not contribute to gradients.
        """
        maps = features[: len(self.strides)]
        if _WORTHWHILE * len(maps) * rows.shape[1] > sum(x[0, 0].numel() for x in maps):
            return gathered(*self(features))(rows)
        logits, deltas, start = 0.0, 0.0, 0
        for level, x in enumerate(maps):
            convs, objectness, delta = self._of_level(level)
            height, width, each = *x.shape[-2:], objectness.out_channels
            number, row = height * width * each, rows - start
            here, row = (row >= 0) & (row < number), row.clamp(0, number - 1)
            cell, kind = row // each, (row % each)[..., None]
            hidden = _convolved(convs, x, cell // width, cell % width)  # (B, S, C)
            logit = F.linear(hidden, objectness.weight.flatten(1), objectness.bias).gather(2, kind)[..., 0]
            of_kinds = F.linear(hidden, delta.weight.flatten(1), delta.bias).unflatten(2, (-1, 4))
            moved = of_kinds.gather(2, kind[..., None].expand(-1, -1, 1, 4))[:, :, 0]
            logits = torch.where(here, logit.float(), logits)
            deltas = torch.where(here[..., None], moved.float(), deltas)
            start += number
        return logits, deltas  # type: ignore[return-value]

    def anchors(self, features: list[Tensor]) -> list[Tensor]:
        """Return the anchors per level, (A_l, 4), in pixels of the network's input."""
        anchors = []
        for level, (x, stride) in enumerate(zip(features, self.strides, strict=False)):
            height, width = x.shape[-2:]
            step_y = step_x = stride
            if self.config.anchors.measured_stride:
                step_y = features[0].shape[-2] * self.strides[0] // height
                step_x = features[0].shape[-1] * self.strides[0] // width
            base, offset = self.get_buffer(f"base{level}"), self.config.anchors.offset
            anchors.append(grid_anchors(base, height, width, step_y, step_x, offset))
        return anchors

    @torch.no_grad()
    def propose(
        self, anchors: list[Tensor], logits: list[Tensor], deltas: list[Tensor], sizes: Tensor
    ) -> tuple[Proposals, Tensor]:
        """Decode and clip the top anchors of each level and apply NMS per level.

        `sizes` (B, 2) are height and width. Returns proposals (B, K) and their logits (B, K), sorted by logit.
        """
        pre = self.config.pre_nms_train if self.training else self.config.pre_nms_test
        post = self.config.post_nms_train if self.training else self.config.post_nms_test
        top, moves, scores = [], [], []
        for a, s, d in zip(anchors, logits, deltas, strict=True):
            s, index = F.pad(s, (0, pre), value=-torch.inf).topk(pre, dim=1)  # a fixed number of slots
            index = index.clamp(max=a.shape[0] - 1)
            top.append(a[index])
            moves.append(box_ops.gather(d, index))
            scores.append(s)
        box = box_ops.clip(self.coder.decode(torch.cat(top, dim=1), torch.cat(moves, dim=1)), sizes)
        score = torch.cat(scores, dim=1)
        valid = box_ops.nonempty(box, self.config.min_size) & score.isfinite()
        valid = self._nms_within_levels(box, score, valid, len(anchors))
        score, index = torch.where(valid, score, -torch.inf).topk(min(post, pre * len(anchors)), dim=1)
        valid = score > -torch.inf
        return Proposals(box_ops.gather(box, index).masked_fill(~valid[..., None], 0.0), valid), score

    def _nms_within_levels(self, boxes: Tensor, scores: Tensor, valid: Tensor, levels: int) -> Tensor:
        """Return a mask (B, K) of the boxes to keep; levels have equal length and are treated as separate images."""
        boxes, scores, own = (x.unflatten(1, (levels, -1)).flatten(0, 1) for x in (boxes, scores, valid))
        return keep_mask(boxes, scores, torch.zeros_like(own, dtype=torch.int64), own, self.config.nms_iou).view_as(
            valid
        )

    def loss(self, anchors: list[Tensor], outputs: Outputs, targets: Targets, sizes: Tensor) -> dict[str, Tensor]:
        """Compute the objectness and localization losses on a sample of anchors, under torchvision's names."""
        config = self.config
        anchor = torch.cat(anchors).expand(len(sizes), -1, -1)
        matches = match(
            anchor,
            self._usable(anchor, sizes),
            targets,
            positive_iou=config.positive_iou,
            negative_iou=config.negative_iou,
            low_quality_iou=config.low_quality_iou,
            low_quality_reassigns=config.low_quality_reassigns,
            min_object_size=self.semantics.min_object_size,
        )
        samples = self._samples(matches, [len(a) for a in anchors])
        numbers = [chosen.rows.shape[1] for chosen in samples]
        logits, deltas = outputs(torch.cat([chosen.rows for chosen in samples], dim=1))
        risks = [
            self._risks(anchor, logit, delta, matches, targets, chosen)
            for chosen, logit, delta in zip(samples, logits.split(numbers, 1), deltas.split(numbers, 1), strict=True)
        ]
        return {name: torch.stack([risk[name] for risk in risks]).mean() for name in risks[0]}

    def _samples(self, matches: Matches, numbers: list[int]) -> list[Sample]:
        """Draw one sample from all anchors, or one from each level; level l has `numbers[l]` anchors."""
        numbers = numbers if self.config.by_level else [sum(numbers)]
        samples, start = [], 0
        for number, *part in zip(numbers, *(x.split(numbers, dim=1) for x in matches), strict=True):
            chosen = sample(Matches(*part), self.config.samples // len(numbers), self.config.positive_fraction)
            samples.append(Sample(chosen.rows + start, chosen.valid))
            start += number
        return samples

    def _risks(
        self, anchor: Tensor, logits: Tensor, deltas: Tensor, matches: Matches, targets: Targets, chosen: Sample
    ) -> dict[str, Tensor]:
        """Compute the losses of a sample of the anchors (B, A, 4) from its logits (B, S) and deltas (B, S, 4)."""
        positive = matches.positive.gather(1, chosen.rows) & chosen.valid
        number = chosen.valid.sum().clamp(min=1)
        coordinates = 4 * positive.sum().clamp(min=1)
        return {
            "loss_objectness": losses.objectness(logits, positive, chosen.valid, number),
            "loss_rpn_box_reg": losses.localization(
                self.box_loss,
                deltas,
                box_ops.gather(anchor, chosen.rows),
                box_ops.gather(targets.boxes, matches.matched.gather(1, chosen.rows)),
                self.coder,
                mask=positive,
                normalizer=coordinates if self.config.box_normalizer == "coordinates" else number,
            ),
        }

    def _usable(self, anchors: Tensor, sizes: Tensor) -> Tensor:
        """Return a mask (B, A) of the anchors to train on; as in mmdetection, right and bottom borders are outside."""
        limit = sizes.flip(-1)[:, None]  # (B, 1, 2): width and height
        match self.config.trained_anchors:
            case "inside":
                return (anchors[..., :2] >= 0).all(dim=-1) & (anchors[..., 2:] < limit).all(dim=-1)
            case "mostly-inside":
                margin = (anchors[..., 2:] - anchors[..., :2]) / 4
                outside = (anchors[..., :2] < -margin) | (anchors[..., 2:] >= limit + margin)
                return ~outside.any(dim=-1)
            case "centre-inside":  # of the padded image; centres are multiples of 4, so a pixel absorbs rounding
                limit = (limit / self.padding).ceil() * self.padding
                return ((anchors[..., :2] + anchors[..., 2:]) / 2 < limit - 1).all(dim=-1)
            case "all":
                return torch.ones_like(anchors[..., 0], dtype=torch.bool)


def _convolved(convs: list[nn.Conv2d], x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Apply 3x3 convolutions with ReLU to a map (B, C, H, W) at some positions (B, S) only -> (B, S, C')."""
    batch, _, height, width = x.shape
    around = torch.arange(-len(convs), len(convs) + 1, device=x.device)
    y, x_ = row[..., None, None] + around[:, None], column[..., None, None] + around
    inside = ((y >= 0) & (y < height) & (x_ >= 0) & (x_ < width))[..., None]  # outside is every layer's zero padding
    cell = y.clamp(0, height - 1) * width + x_.clamp(0, width - 1)
    cell = cell + torch.arange(batch, device=x.device)[:, None, None, None] * (height * width)
    patch = x.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, cell.flatten()).unflatten(0, cell.shape)
    for conv in convs:
        windows = (patch * inside).unfold(2, 3, 1).unfold(3, 3, 1)  # (B, S, n, n, C, 3, 3)
        patch = F.relu(F.linear(windows.flatten(4), conv.weight.flatten(1), conv.bias))
        inside = inside[:, :, 1:-1, 1:-1]
    return patch.flatten(2)


def _tower(channels: int, width: int, convs: int) -> nn.Module:
    layers = [Conv2d(width if k else channels, width, 3, padding=1) for k in range(convs)]
    return layers[0] if convs == 1 else nn.Sequential(*layers)
