"""The cascade: equations 7 and 8, Figure 3 (d). The same class covers a single stage (a) and a repeated head (b).

Stage t (1..T) classifies its input boxes b^t and regresses them to b^(t+1), in training and at inference.

B images · K boxes · S sampled boxes · M classes · R regressors (1 or M) · T stages
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn import losses
from cascade_rcnn.box_coder import BoxCoder
from cascade_rcnn.config import InferenceConfig, SamplingConfig, SemanticsConfig, StageConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.heads.detections import select
from cascade_rcnn.layers.settings import FixedSettings
from cascade_rcnn.matching import Matches, match
from cascade_rcnn.protocols import BoxLoss, Classification
from cascade_rcnn.sampling import Sample, keep_all, sample
from cascade_rcnn.structures import Detections, Proposals, StageOutput, Targets, TrainedOn

SOFTMAX = losses.Softmax()
Features: TypeAlias = Any  # feature maps, plain or as returned by `lay_out`; heads accept both
LayOut: TypeAlias = Callable[[list[Tensor]], Features]


class Cascade(FixedSettings):
    """Run T stages in sequence. A head maps (features, boxes (B, K, 4)) to logits and deltas.

    Stages may share a head; each trains it with its own u and statistics. Only the first `trained` stages are trained
    (None: all); the rest run at inference only, like the iterations of equation 3.
    """

    def __init__(
        self,
        heads: Sequence[nn.Module],
        stages: Sequence[StageConfig],
        box_loss: BoxLoss,
        semantics: SemanticsConfig,
        sampling: SamplingConfig,
        inference: InferenceConfig,
        lay_out: LayOut = list,
        classification: Classification = SOFTMAX,
        trained: int | None = None,
    ) -> None:
        """`lay_out` converts the feature maps, once for all heads, into the form the heads pool from."""
        super().__init__()
        self.lay_out = lay_out
        self.trained = len(stages) if trained is None else trained
        distinct = list(dict.fromkeys(heads))
        self.heads = nn.ModuleList(distinct)
        self.head_of = tuple(distinct.index(head) for head in heads)  # per stage
        self.stages = tuple(stages)
        self.box_loss, self.classification = box_loss, classification
        self.semantics, self.sampling, self.inference = semantics, sampling, inference
        clamp = semantics.clamp_shrink
        self.coders = nn.ModuleList(BoxCoder(stage.mean, stage.std, clamp_shrink=clamp) for stage in stages)

    def head(self, t: int) -> nn.Module:
        """Return the head of stage t."""
        return self.heads[self.head_of[t - 1]]

    def coder(self, t: int) -> BoxCoder:
        """Return the box coder of stage t (equation 2 with the stage's statistics)."""
        return self.coders[t - 1]  # type: ignore[return-value]

    # -- training: equation 8 ------------------------------------------------------------------------------------

    def train_stages(
        self, features: list[Tensor], proposals: Proposals, targets: Targets, sizes: Tensor
    ) -> Iterator[TrainedOn]:
        """Yield each stage's training samples, labelled at the stage's u (eq. 5), together with its output for them."""
        if self.semantics.average_pooled_gradient and self.trained > 1:
            features = [_ShareGradient.apply(x, 1 / self.trained) for x in features]  # type: ignore[misc]
        features = self.lay_out(features)
        from_truth = torch.zeros_like(proposals.valid)
        for t in range(1, self.trained + 1):
            inputs, is_truth = self._append_truth(t, proposals, targets)
            from_truth = nn.functional.pad(from_truth, (0, is_truth.shape[1] - from_truth.shape[1])) | is_truth
            u, least = self.stages[t - 1].iou, self.semantics.min_object_size
            matches = match(inputs.boxes, inputs.valid, targets, positive_iou=u, min_object_size=least)
            chosen = self._draw(t, matches)
            from_truth = from_truth.gather(1, chosen.rows)
            trained = self._run_sample(t, features, inputs.boxes, matches, chosen, targets, from_truth)
            yield trained
            if t < self.trained:
                proposals = self._resample(t, trained, sizes)

    def loss(self, trained: Sequence[TrainedOn]) -> dict[str, Tensor]:
        """Compute the classification and localization risks of each stage from the output of `train_stages`."""
        total: dict[str, Tensor] = {}
        for t, one in enumerate(trained, start=1):
            suffix = f"_stage{t}" if self.trained > 1 else ""
            total |= {f"{name}{suffix}": risk for name, risk in self._risks(t, one).items()}
        return total

    def _append_truth(self, t: int, proposals: Proposals, targets: Targets) -> tuple[Proposals, Tensor]:
        """Return the inputs of stage t and a mask of the ground-truth boxes among them."""
        is_truth = torch.zeros_like(proposals.valid)
        if t > 1 and self.semantics.append_ground_truth == "first":
            return proposals, is_truth
        return proposals.with_truth(targets), torch.cat([is_truth, targets.valid], dim=1)

    def _draw(self, t: int, matches: Matches) -> Sample:
        """Sample the inputs of the first stage; later stages keep all of theirs (section 5.1) or resample."""
        if t == 1 or self.semantics.resample:
            return sample(matches, self.sampling.rois, self.sampling.positive_fraction)
        return keep_all(matches)

    def _run_sample(
        self,
        t: int,
        features: Features,
        boxes: Tensor,
        matches: Matches,
        chosen: Sample,
        targets: Targets,
        from_truth: Tensor,
    ) -> TrainedOn:
        boxes = box_ops.gather(boxes, chosen.rows).masked_fill(~chosen.valid[..., None], 0.0)
        positive = matches.positive.gather(1, chosen.rows) & chosen.valid
        matched = matches.matched.gather(1, chosen.rows)
        return TrainedOn(
            output=StageOutput(boxes, *self.head(t)(features, boxes)),
            labels=torch.where(positive, matches.labels.gather(1, chosen.rows), 0),
            matched=matched,
            truth=box_ops.gather(targets.boxes, matched),
            iou=matches.iou.gather(1, chosen.rows),
            valid=chosen.valid,
            from_truth=from_truth,
        )

    def _risks(self, t: int, trained: TrainedOn) -> dict[str, Tensor]:
        """Compute equation 8 for one stage."""
        number = trained.valid.sum().clamp(min=1)
        localize = losses.localization(
            self.box_loss,
            _of_class(trained.output.deltas, trained.labels),
            trained.output.boxes,
            trained.truth,
            self.coder(t),
            mask=trained.labels > 0,
            normalizer=number,
        )
        weight = self.stages[t - 1].loss_weight
        classify = self._classification(trained, number)
        return {"loss_classifier": weight * classify, "loss_box_reg": weight * localize}

    def _classification(self, trained: TrainedOn, number: Tensor) -> Tensor:
        return losses.classification(self.classification, trained.output.logits, trained.labels, trained.valid, number)

    @torch.no_grad()
    def _resample(self, t: int, trained: TrainedOn, sizes: Tensor) -> Proposals:
        """Turn a stage's output into the next stage's input (section 4.2): refine the boxes and drop empty ones.

        Depending on the semantics, positives that nearly coincided with their object before refinement are dropped too.
        """
        labels = torch.where(trained.labels > 0, trained.labels, self._likeliest(trained.output.logits))
        boxes = self.refine(t, trained.output, sizes, labels)
        valid = trained.valid & box_ops.nonempty(boxes)
        if self.semantics.drop_near_ground_truth is not None:
            valid = valid & ~((trained.labels > 0) & (trained.iou >= self.semantics.drop_near_ground_truth))
        if self.semantics.append_ground_truth == "every-removed":
            valid = valid & ~trained.from_truth
        return Proposals(boxes.masked_fill(~valid[..., None], 0.0), valid)

    # -- inference: equation 7 -----------------------------------------------------------------------------------

    def forward(self, features: list[Tensor], proposals: Proposals, sizes: Tensor, first: int = 1) -> Detections:
        """Turn the inputs of stage `first` into detections, in pixels of the network's input."""
        laid_out = self.lay_out(features)
        outputs, valid = self.run_all(laid_out, proposals, sizes, first)
        return self.detections(laid_out, outputs, valid, sizes, first)[0]

    def run_all(
        self, features: Features, proposals: Proposals, sizes: Tensor, first: int = 1
    ) -> tuple[list[StageOutput], Tensor]:
        """Apply stage `first` and those up to the last; return their outputs, and which boxes (B, K) are valid."""
        self._check_stages(first, self.last)
        outputs, valid = self.run(features, proposals.boxes, sizes, first, first), proposals.valid
        if self.last > first:
            outputs[0], valid = self._survivors(outputs[0], valid)
            outputs += self.run(features, self.refine(first, outputs[0], sizes), sizes, self.last, first + 1)
        return outputs, valid

    def detections(
        self, features: Features, outputs: list[StageOutput], valid: Tensor, sizes: Tensor, first: int = 1
    ) -> tuple[Detections, Tensor]:
        """Turn the outputs of stages `first` to `last` into detections; also return the box (B, D) of each, 0..K-1."""
        scores = self.scores(features, outputs, first).masked_fill(~valid[..., None], 0.0)
        return select(self.decode(self.last, outputs[-1]), scores, sizes, self.inference)

    @property
    def last(self) -> int:
        """The last stage to run, which produces the boxes of the detections."""
        return len(self.stages) if self.inference.stage is None else self.inference.stage

    def run(self, features: Features, boxes: Tensor, sizes: Tensor, last: int, first: int = 1) -> list[StageOutput]:
        """Apply stages first..last to boxes (B, K, 4) (equation 7)."""
        self._check_stages(first, last)
        outputs: list[StageOutput] = []
        for t in range(first, last + 1):
            if outputs:
                boxes = self.refine(t - 1, outputs[-1], sizes)
            outputs.append(StageOutput(boxes, *self.head(t)(features, boxes)))
        return outputs

    def _check_stages(self, first: int, last: int) -> None:
        if not 1 <= first <= last <= len(self.stages):
            raise UserError(f"stages {first} to {last}: this model runs stages 1 to {len(self.stages)}, in order")

    def _survivors(self, output: StageOutput, valid: Tensor) -> tuple[StageOutput, Tensor]:
        """Keep only the boxes that the first stage finds least likely to be background, if configured."""
        number = self.inference.survivors
        if number is None or number >= valid.shape[1]:
            return output, valid
        likely = torch.where(valid, self.classification.objectness(output.logits), -1.0)
        rows = likely.topk(number, dim=1).indices
        return StageOutput(*(box_ops.gather(x, rows) for x in output)), valid.gather(1, rows)

    def proposals_after(self, t: int, features: list[Tensor], proposals: Proposals, sizes: Tensor) -> Proposals:
        """Return the boxes refined by stage t, given the RPN's proposals (t = 0: the proposals themselves)."""
        if t == 0:
            return proposals
        outputs = self.run(self.lay_out(features), proposals.boxes, sizes, t)
        boxes = self.refine(t, outputs[-1], sizes)
        return Proposals(boxes, proposals.valid & box_ops.nonempty(boxes))

    def scores(self, features: Features, outputs: list[StageOutput], first: int = 1) -> Tensor:
        """Return class probabilities (B, K, M): the last stage's, or an ensemble of those from `first` on (Table 2).

        With a single trained stage there is one classifier and nothing to ensemble.
        """
        logits = [outputs[-1].logits]
        if self.inference.ensemble and self.trained > 1:
            logits = [output.logits for output in outputs]
            if (self.inference.ensemble_rois or self.semantics.ensemble_rois) == "last":
                earlier = range(first, first + len(outputs) - 1)
                logits[:-1] = [self.head(t)(features, outputs[-1].boxes)[0] for t in earlier]
        return self._average(logits)

    def _average(self, logits: list[Tensor]) -> Tensor:
        """Average the classifiers' logits or probabilities, per the semantics: [(B, K, M + 1)] -> (B, K, M)."""
        if self.semantics.ensemble == "logits":
            return self.classification.probabilities(torch.stack(logits).mean(dim=0))
        return torch.stack([self.classification.probabilities(x) for x in logits]).mean(dim=0)

    def stage_scores(self, output: StageOutput) -> Tensor:
        """Return the class probabilities (B, K, M) of one stage, without the ensemble."""
        return self._average([output.logits])

    # -- both ----------------------------------------------------------------------------------------------------

    def decode(self, t: int, output: StageOutput) -> Tensor:
        """Decode the boxes of all regressors of stage t, unclipped: (B, K, R, 4)."""
        return self.coder(t).decode(output.boxes[:, :, None], output.deltas)

    def refine(self, t: int, output: StageOutput, sizes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute b^(t+1), (B, K, 4), with the regressor of class `labels` (B, K), or of the most likely class."""
        labels = self._likeliest(output.logits) if labels is None else labels
        boxes = self.coder(t).decode(output.boxes, _of_class(output.deltas, labels))
        return box_ops.clip(boxes, sizes) if self.semantics.clip_between_stages else boxes

    def _likeliest(self, logits: Tensor) -> Tensor:
        """Return the most likely foreground class: (B, K, M + 1) -> (B, K) in 1..M."""
        return logits[..., 1:].argmax(dim=-1) + 1


class _ShareGradient(torch.autograd.Function):
    """Identity with a scaled gradient. Pooling is linear, so scaling the maps equals scaling the pooled features."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        ctx.share = share
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.share, None


def _of_class(deltas: Tensor, labels: Tensor) -> Tensor:
    """Select each box's deltas by class: (B, K, R, 4), labels (B, K) in 0..M -> (B, K, 4) (background: arbitrary)."""
    if deltas.shape[2] == 1:
        return deltas[:, :, 0]
    index = (labels - 1).clamp(min=0)[..., None, None].expand(-1, -1, 1, 4)
    return deltas.gather(2, index).squeeze(2)
