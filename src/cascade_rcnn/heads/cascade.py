"""The cascade: equations 7 and 8, Figure 3 (d). One class for (a), a single stage, and (d), T stages.

Stage t classifies the boxes b^t that reach it and regresses them to b^(t+1), in training and at inference alike.

B images · K boxes · M classes · R regressors (1 or M) · T stages
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn import losses
from cascade_rcnn.config import Inference, Sampling, Semantics, Stage
from cascade_rcnn.heads.detections import select
from cascade_rcnn.quality import Assignment, Sample, assign, keep_all, sample
from cascade_rcnn.structures import Detections, Proposals, Targets


class StageOutput(NamedTuple):
    """What one stage saw and said."""

    boxes: Tensor  # (B, K, 4): its input b^t
    logits: Tensor  # (B, K, M + 1), background first
    deltas: Tensor  # (B, K, R, 4), normalised by the stage's statistics


class Cascade(nn.Module):
    """T detection heads, one after the other."""

    def __init__(
        self,
        pool: nn.Module,
        heads: Sequence[nn.Module],
        stages: Sequence[Stage],
        semantics: Semantics,
        sampling: Sampling,
        inference: Inference,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.heads = nn.ModuleList(heads)
        self.stages = tuple(stages)
        self.semantics, self.sampling, self.inference = semantics, sampling, inference
        for t, stage in enumerate(self.stages):
            self.register_buffer(f"statistics{t}", torch.tensor([stage.mean, stage.std]), persistent=False)

    # -- training: equation 8 ------------------------------------------------------------------------------------

    def loss(self, features: list[Tensor], proposals: Proposals, targets: Targets, sizes: Tensor) -> dict[str, Tensor]:
        """Classification and localization risk of each stage; stage t is trained on what stage t-1 puts out."""
        total: dict[str, Tensor] = {}
        for t, stage in enumerate(self.stages):
            inputs, is_truth = self._append_truth(t, proposals, targets)
            assignment = assign(inputs.boxes, inputs.valid, targets, positive_iou=stage.iou)
            chosen = self._draw(t, assignment, is_truth)
            boxes = box_ops.gather(inputs.boxes, chosen.rows)
            output = StageOutput(boxes, *self.heads[t](self._pool_for_training(features, boxes)))
            suffix = f"_stage{t + 1}" if len(self.stages) > 1 else ""
            risks, labels = self._risks(t, output, assignment, chosen)
            total |= {f"{name}{suffix}": risk for name, risk in risks.items()}
            if t + 1 < len(self.stages):
                proposals = self._resample(t, output, labels, chosen, is_truth.gather(1, chosen.rows), sizes)
        return total

    def _append_truth(self, t: int, proposals: Proposals, targets: Targets) -> tuple[Proposals, Tensor]:
        """The stage's inputs, and which of them are ground truth."""
        is_truth = torch.zeros_like(proposals.valid)
        if t > 0 and self.semantics.append_ground_truth == "first":
            return proposals, is_truth
        boxes = torch.cat([proposals.boxes, targets.boxes], dim=1)
        valid = torch.cat([proposals.valid, targets.valid], dim=1)
        return Proposals(boxes, valid), torch.cat([is_truth, targets.valid], dim=1)

    def _draw(self, t: int, assignment: Assignment, is_truth: Tensor) -> Sample:
        """The first stage samples; later ones keep what reaches them (section 5.1), or sample again."""
        limit = self.semantics.drop_near_ground_truth
        if t > 0 and limit is not None:
            far = (assignment.iou < limit) | is_truth
            assignment = assignment._replace(positive=assignment.positive & far, negative=assignment.negative & far)
        if t == 0 or self.semantics.resample:
            return sample(assignment, self.sampling.rois, self.sampling.positive_fraction)
        return keep_all(assignment)

    def _pool_for_training(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        pooled = self.pool(features, boxes)
        if self.semantics.average_pooled_gradient and len(self.stages) > 1:
            share = 1 / len(self.stages)  # the value of `pooled`, a share of its gradient
            pooled = pooled * share + pooled.detach() * (1 - share)
        return pooled

    def _risks(
        self, t: int, output: StageOutput, assignment: Assignment, chosen: Sample
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Equation 8 for one stage, and the labels (B, S) it was computed with."""
        stage = self.stages[t]
        positive = assignment.positive.gather(1, chosen.rows) & chosen.valid
        labels = torch.where(positive, assignment.labels.gather(1, chosen.rows), 0)
        target = box_ops.encode(output.boxes, box_ops.gather(assignment.truth, chosen.rows))
        target = self._normalise(t, target)
        predicted = _of_class(output.deltas, labels)
        number = chosen.valid.sum().clamp(min=1)
        classify = losses.classification(output.logits, labels, chosen.valid, number)
        localize = losses.localization(predicted, target, positive, number, self.semantics.box_beta)
        risks = {"loss_classifier": stage.loss_weight * classify, "loss_box_reg": stage.loss_weight * localize}
        return risks, labels

    @torch.no_grad()
    def _resample(
        self, t: int, output: StageOutput, labels: Tensor, chosen: Sample, is_truth: Tensor, sizes: Tensor
    ) -> Proposals:
        """The stage's output as the next stage's input (section 4.2): boxes moved, empty ones dropped."""
        labels = torch.where(labels > 0, labels, _likeliest(output.logits))
        boxes = self._refine(t, output, labels, sizes)
        valid = chosen.valid & box_ops.nonempty(boxes)
        if self.semantics.append_ground_truth == "every-removed":
            valid = valid & ~is_truth
        return Proposals(boxes.masked_fill(~valid[..., None], 0.0), valid)

    # -- inference: equation 7 -----------------------------------------------------------------------------------

    def forward(self, features: list[Tensor], proposals: Proposals, sizes: Tensor) -> Detections:
        """Proposals -> detections, in pixels of the network's input."""
        last = len(self.stages) if self.inference.stage is None else self.inference.stage
        outputs = self.run(features, proposals.boxes, sizes, last)
        scores = self.scores(features, outputs).masked_fill(~proposals.valid[..., None], 0.0)
        return select(self.regress(last - 1, outputs[-1]), scores, sizes, self.inference)

    def run(self, features: list[Tensor], boxes: Tensor, sizes: Tensor, last: int) -> list[StageOutput]:
        """Equation 7: stages 1..last on boxes (B, K, 4)."""
        outputs = []
        for t in range(last):
            if t > 0:
                boxes = self._refine(t - 1, outputs[-1], _likeliest(outputs[-1].logits), sizes)
            outputs.append(StageOutput(boxes, *self.heads[t](self.pool(features, boxes))))
        return outputs

    def scores(self, features: list[Tensor], outputs: list[StageOutput]) -> Tensor:
        """Class probabilities (B, K, M): the last stage's, or an ensemble of all that ran (Table 2)."""
        logits = [outputs[-1].logits]
        if self.inference.ensemble and len(outputs) > 1:
            logits = [output.logits for output in outputs]
            if (self.inference.ensemble_rois or self.semantics.ensemble_rois) == "last":
                pooled = self.pool(features, outputs[-1].boxes)
                logits[:-1] = [head(pooled)[0] for head in self.heads[: len(outputs) - 1]]
        if self.semantics.ensemble == "logits":
            return torch.stack(logits).mean(dim=0).softmax(dim=-1)[..., 1:]
        return torch.stack([x.softmax(dim=-1) for x in logits]).mean(dim=0)[..., 1:]

    # -- both ----------------------------------------------------------------------------------------------------

    def regress(self, t: int, output: StageOutput) -> Tensor:
        """The boxes a stage puts out, one per regressor: (B, K, R, 4), not clipped."""
        mean, std = self.get_buffer(f"statistics{t}")
        return box_ops.decode(output.boxes[:, :, None], output.deltas * std + mean, self.semantics.clamp_shrink)

    def _normalise(self, t: int, deltas: Tensor) -> Tensor:
        mean, std = self.get_buffer(f"statistics{t}")
        return (deltas - mean) / std

    def _refine(self, t: int, output: StageOutput, labels: Tensor, sizes: Tensor) -> Tensor:
        """b^(t+1), (B, K, 4): by the regressor of class `labels` (B, K) where each class has its own."""
        boxes = self.regress(t, output._replace(deltas=_of_class(output.deltas, labels)[:, :, None]))[:, :, 0]
        return box_ops.clip(boxes, sizes) if self.semantics.clip_between_stages else boxes


def _of_class(deltas: Tensor, labels: Tensor) -> Tensor:
    """(B, K, R, 4), labels (B, K) in 0..M -> (B, K, 4): the class's deltas (background: any)."""
    if deltas.shape[2] == 1:
        return deltas[:, :, 0]
    index = (labels - 1).clamp(min=0)[..., None, None].expand(-1, -1, 1, 4)
    return deltas.gather(2, index).squeeze(2)


def _likeliest(logits: Tensor) -> Tensor:
    """The most probable class that is not background: (B, K, M + 1) -> (B, K) in 1..M."""
    return logits[..., 1:].argmax(dim=-1) + 1
