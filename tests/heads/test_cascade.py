"""Equations 7 and 8 by hand, with a pool that returns the boxes themselves and heads whose output is known."""

import math

import pytest
import torch
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn import create_model
from cascade_rcnn.config import ConvFCHeadConfig, InferenceConfig, SamplingConfig, StageConfig, replace
from cascade_rcnn.config.presets import PRESETS, find_preset, preset_stages
from cascade_rcnn.heads.cascade import Cascade
from cascade_rcnn.heads.conv_fc import ConvFCHead
from cascade_rcnn.heads.detections import select
from cascade_rcnn.losses import Sigmoid, SmoothL1Loss
from cascade_rcnn.structures import Proposals, Targets

SEMANTICS = {name: preset.semantics for name, preset in PRESETS.items()}
PAPER, DETECTRON2, MMDET = (SEMANTICS[name] for name in ("paper", "detectron2", "mmdet"))
SIZES = torch.tensor([[100.0, 100]])
ONE = [torch.ones(1)]  # the feature pyramid of these tests: a factor
EVERYTHING = InferenceConfig(score_threshold=0.0)


class Pool(nn.Module):
    """A pool whose features are the boxes' coordinates; remembers the boxes it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        self.asked.append(boxes.detach().clone())
        return (features[0] * boxes.detach() / 100).flatten(0, 1)[:, :, None, None]


class Fixed(nn.Module):
    """A head that returns the same logits (M + 1,) and deltas (R, 4) for every box."""

    def __init__(self, logits: list[float], deltas: list[list[float]]) -> None:
        super().__init__()
        self.pool = Pool()
        self.logits, self.deltas = nn.Parameter(torch.tensor(logits)), nn.Parameter(torch.tensor(deltas))

    def forward(self, features: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        self.pool(features, boxes)
        front = boxes.shape[:2]
        return self.logits.expand(*front, -1), self.deltas.expand(*front, -1, -1)


def cascade(heads, semantics=DETECTRON2, stages=None, rois=16, inference=EVERYTHING) -> Cascade:
    stages = stages or preset_stages(semantics.name, len(heads))
    pool = Pool()
    for head in heads:
        head.pool = pool
    loss = SmoothL1Loss(find_preset(semantics.name).box_loss)
    return Cascade(heads, stages, loss, semantics, SamplingConfig(rois=rois, positive_fraction=0.5), inference)


def losses_of(model: Cascade, *given) -> dict[str, Tensor]:
    """Return the cascade's losses for features, proposals, targets and sizes."""
    return model.loss(list(model.train_stages(*given)))


def random_heads(number: int = 3, classes: int = 2, agnostic: bool = True, spread: float = 1.0) -> list[ConvFCHead]:
    torch.manual_seed(0)
    config = ConvFCHeadConfig(width=8, class_agnostic=agnostic)
    heads = [ConvFCHead(Pool(), 4, 1, classes, config) for _ in range(number)]
    for head in heads:
        nn.init.normal_(head.regressor.weight, std=spread)
        nn.init.normal_(head.classifier.weight, std=spread)
    return heads


def proposals_of(*boxes: list[float], valid: list[bool] | None = None) -> Proposals:
    return Proposals(torch.tensor([boxes]), torch.tensor([valid or [True] * len(boxes)]))


def targets_of(*boxes: list[float], labels: list[int] | None = None) -> Targets:
    number = len(boxes)
    return Targets(torch.tensor([boxes]), torch.tensor([labels or [1] * number]), torch.ones(1, number).bool(), None)


def some_proposals(number: int = 12) -> Proposals:
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(1, number, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + 10 + 30 * torch.rand(1, number, 2, generator=generator)], dim=-1)
    return Proposals(boxes, torch.ones(1, number, dtype=torch.bool))


def contains(boxes: Tensor, box: list[float]) -> bool:
    return bool((boxes - torch.tensor(box)).abs().amax(dim=-1).lt(1e-3).any())


# -- equation 7: inference -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("semantics", SEMANTICS.values(), ids=SEMANTICS)
def test_each_stage_starts_from_the_boxes_of_the_one_before(semantics):
    model = cascade(random_heads(spread=6.0), semantics)
    outputs = model.run(ONE, some_proposals().boxes, SIZES, 3)
    assert len(outputs) == 3
    assert torch.equal(outputs[0].boxes, some_proposals().boxes)
    for t in (0, 1):
        scaled = outputs[t].deltas[:, :, 0] * torch.tensor(model.stages[t].std)
        expected = box_ops.decode(outputs[t].boxes, scaled, semantics.clamp_shrink)
        if semantics.clip_between_stages:
            expected = expected.clamp(0, 100)
        torch.testing.assert_close(outputs[t + 1].boxes, expected)
    outside = (outputs[2].boxes < 0) | (outputs[2].boxes > 100)
    assert bool(outside.any()) != semantics.clip_between_stages


def test_statistics_scale_and_shift_the_deltas():
    """A box of 10 x 20 at (5, 10) moves by (1 x 0.5 + 0.2) x 10 = 7 and (2 x 0.25 - 0.1) x 20 = 8."""
    stage = StageConfig(std=(0.5, 0.25, 1.0, 1.0), mean=(0.2, -0.1, 0.0, 0.0))
    model = cascade([Fixed([0.0, 0], [[1.0, 2, 0, 0]])], stages=[stage])
    output = model.run(ONE, torch.tensor([[[0.0, 0, 10, 20]]]), SIZES, 1)[0]
    torch.testing.assert_close(model.decode(1, output), torch.tensor([[[[7.0, 8, 17, 28]]]]))


def test_a_class_s_own_regressor_moves_the_box_even_where_background_is_likelier():
    """Class c moves by c tenths of its width; the logits favour background, then class 2."""
    deltas = [[1.0, 0, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0]]
    model = cascade([Fixed([5.0, 0, 1, -1], deltas)] * 2, stages=preset_stages("mmdet", 2), semantics=MMDET)
    outputs = model.run(ONE, torch.tensor([[[10.0, 10, 20, 20]]]), SIZES, 2)
    torch.testing.assert_close(outputs[1].boxes, torch.tensor([[[12.0, 10, 22, 20]]]))
    # each class's box of the last stage: 12 + c x 0.05 x 10
    torch.testing.assert_close(model.decode(2, outputs[1])[0, 0, :, 0], torch.tensor([12.5, 13, 13.5]))


@pytest.mark.parametrize("last", [1, 2, 3])
@pytest.mark.parametrize("ensemble", [True, False])
@pytest.mark.parametrize("semantics", SEMANTICS.values(), ids=SEMANTICS)
@pytest.mark.parametrize("rois", ["last", "own", None])
@torch.no_grad()
def test_stage_and_ensemble_by_hand(semantics, ensemble, last, rois):
    heads = random_heads()
    inference = InferenceConfig(stage=last, ensemble=ensemble, ensemble_rois=rois, score_threshold=0.0)
    model = cascade(heads, semantics, inference=inference)
    outputs = model.run(ONE, some_proposals().boxes, SIZES, last)
    logits = torch.stack([output.logits for output in outputs])
    if rois == "last" or (rois is None and semantics is PAPER):  # all heads classify the last stage's boxes
        logits = torch.stack([head(ONE, outputs[-1].boxes)[0] for head in heads[:last]])
    if not ensemble:
        expected = outputs[-1].logits.softmax(-1)
    elif semantics is MMDET:
        expected = logits.mean(0).softmax(-1)
    else:
        expected = logits.softmax(-1).mean(0)
    torch.testing.assert_close(model.scores(ONE, outputs), expected[..., 1:])
    found = model(ONE, some_proposals(), SIZES)
    by_hand, _ = select(model.decode(last, outputs[-1]), expected[..., 1:], SIZES, model.inference)
    for a, b in zip(found, by_hand, strict=True):
        torch.testing.assert_close(a, b)


def test_the_ensembles_differ():
    """The ensembles differ, so the test above can tell them apart."""
    outputs = [cascade(random_heads(), s)(ONE, some_proposals(), SIZES).scores for s in SEMANTICS.values()]
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-4)
    assert not torch.allclose(outputs[1], outputs[2], atol=1e-4)


def test_invalid_proposals_give_no_detections():
    boxes = [[10.0, 10, 40, 40], [50, 50, 90, 90]]
    model = cascade([Fixed([0.0, 1], [[0.0] * 4])] * 3)
    found = model(ONE, proposals_of(*boxes, valid=[False, True]), SIZES)
    assert found.boxes[found.valid].tolist() == [boxes[1]]
    assert not model(ONE, proposals_of(*boxes, valid=[False, False]), SIZES).valid.any()


# -- equation 8: training ------------------------------------------------------------------------------------------


def test_one_stage_is_faster_rcnn():
    options = {
        "backbone_width": 8,
        "pyramid_channels": 16,
        "head_width": 32,
        "proposals": 50,
        "rois": 16,
        "min_size": 64,
    }
    cascaded = create_model("cascade_rcnn_resnet18_fpn", 3, stages=1, **options)
    plain = create_model("faster_rcnn_resnet18_fpn", 3, **options)
    plain.load_state_dict(cascaded.state_dict())
    image = torch.rand(3, 64, 64)
    target = {"boxes": torch.tensor([[5.0, 6, 40, 50]]), "labels": torch.tensor([2])}
    losses = []
    for model in (cascaded, plain):
        torch.manual_seed(0)
        losses.append(model([image], [target]))
    assert set(losses[0]) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    assert {k: v.item() for k, v in losses[0].items()} == {k: v.item() for k, v in losses[1].items()}
    with torch.no_grad():
        one, other = cascaded.eval()([image])[0], plain.eval()([image])[0]
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_risks_by_hand():
    """M = 2, logits ln(1, 2, 1): probabilities 1/4, 1/2, 1/4. One positive, one background, one invalid slot.

    The positive (0, 0, 10, 10) is on the object (0, 0, 10, 8): the centre is off by -1/10 of its height, the height by
    ln 8/10; both are divided by the stage's std .1 and .2.
    """
    head = Fixed([0.0, math.log(2), 0], [[0.0] * 4])
    stage = StageConfig(loss_weight=0.5)
    for semantics, smooth in ((MMDET, lambda d: d - 0.5 if d >= 1 else d * d / 2), (DETECTRON2, abs)):
        model = cascade([head], replace(semantics, append_ground_truth="first"), stages=[stage])
        model.sampling = SamplingConfig(rois=16, positive_fraction=1.0)
        proposals = proposals_of([0.0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 8], valid=[True, True, False])
        found = losses_of(model, ONE, proposals, targets_of([0.0, 0, 10, 8], labels=[1]), SIZES)
        # with the appended ground truth there are three: two positives (p = 1/2), one background (p = 1/4)
        classifier = (2 * math.log(2) + math.log(4)) / 3
        regression = (smooth(0.1 / 0.1) + smooth(math.log(10 / 8) / 0.2)) / 3
        assert found["loss_classifier"].item() == pytest.approx(0.5 * classifier, rel=1e-5)
        assert found["loss_box_reg"].item() == pytest.approx(0.5 * regression, rel=1e-5)


@pytest.mark.parametrize("semantics", SEMANTICS.values(), ids=SEMANTICS)
def test_stages_are_weighted(semantics):
    """Heads with constant logits have the risk ln(M + 1) each."""
    model = cascade([Fixed([0.0, 0, 0], [[0.0] * 4]) for _ in range(3)], semantics)
    found = losses_of(model, ONE, some_proposals(), targets_of([10.0, 10, 40, 40]), SIZES)
    weights = [found[f"loss_classifier_stage{t}"].item() / math.log(3) for t in (1, 2, 3)]
    assert weights == pytest.approx([1, 1, 1] if semantics is DETECTRON2 else [1, 0.5, 0.25])


def test_training_stages_start_from_the_boxes_of_the_one_before():
    model = cascade(random_heads(), DETECTRON2)
    losses_of(model, ONE, some_proposals(), targets_of([10.0, 10, 40, 40]), SIZES)
    asked = list(model.heads[0].pool.asked)
    assert len(asked) == 3
    for t in (0, 1):
        deltas = model.heads[t](ONE, asked[t])[1][:, :, 0] * torch.tensor(model.stages[t].std)
        expected = box_ops.decode(asked[t], deltas).clamp(0, 100)
        real = box_ops.nonempty(asked[t + 1])
        assert int(real.sum()) >= 12
        torch.testing.assert_close(asked[t + 1][real], expected[real])


@pytest.mark.parametrize(
    ("semantics", "truth_itself", "truth_moved"),
    [(PAPER, True, False), (DETECTRON2, False, True), (MMDET, True, False)],
    ids=["paper", "detectron2", "mmdet"],
)
def test_where_ground_truth_joins_the_inputs(semantics, truth_itself, truth_moved):
    """Stage 1 moves every box by a tenth of its width: appended ground truth that is handed on arrives moved."""
    truth = [20.0, 20, 60, 60]
    model = cascade([Fixed([0.0, 0], [[1.0, 0, 0, 0]]), Fixed([0.0, 0], [[0.0] * 4])], semantics, rois=64)
    losses_of(model, ONE, some_proposals(), targets_of(truth), SIZES)
    first, second = model.heads[0].pool.asked
    assert contains(first, truth)
    assert contains(second, truth) == truth_itself
    assert contains(second, [24.0, 20, 64, 60]) == truth_moved


@pytest.mark.parametrize("semantics", [PAPER, DETECTRON2], ids=["paper", "detectron2"])
def test_later_stages_keep_every_box(semantics):
    """12 proposals and 2 objects make 14 inputs; the paper's stages append the objects again each time."""
    model = cascade(random_heads(), semantics, rois=64)
    model.sampling = SamplingConfig(rois=64, positive_fraction=1.0)
    losses_of(model, ONE, some_proposals(), targets_of([20.0, 20, 60, 60], [5, 50, 30, 90]), SIZES)
    added = 2 if semantics is PAPER else 0
    assert [x.shape[1] for x in model.heads[0].pool.asked] == [14, 14 + added, 14 + 2 * added]


def test_mmdetection_s_stages_sample_again():
    model = cascade(random_heads(), MMDET, rois=8)
    losses_of(model, ONE, some_proposals(), targets_of([20.0, 20, 60, 60]), SIZES)
    assert [x.shape[1] for x in model.heads[0].pool.asked] == [8, 8, 8]


def test_positives_at_the_ground_truth_are_not_handed_on_where_asked():
    """Heads that move nothing. The paper's first stage drops the proposal and the ground truth at IoU 1, and hands on
    the proposal at IoU 0.8. With the appended ground truth, the same risk is averaged over 2 inputs instead of 4.
    """
    proposals = proposals_of([20.0, 20, 60, 60], [20.0, 20, 60, 52])
    found = {}
    for limit in (0.95, None):
        semantics = replace(PAPER, drop_near_ground_truth=limit)
        model = cascade([Fixed([0.0, 0], [[0.0] * 4]) for _ in range(2)], semantics)
        model.sampling = SamplingConfig(rois=16, positive_fraction=1.0)
        found[limit] = losses_of(model, ONE, proposals, targets_of([20.0, 20, 60, 60]), SIZES)
    assert found[0.95]["loss_box_reg_stage1"].item() == pytest.approx(found[None]["loss_box_reg_stage1"].item())
    kept = {limit: losses["loss_box_reg_stage2"].item() for limit, losses in found.items()}
    assert kept[0.95] / kept[None] == pytest.approx(4 / 2)  # else 2 proposals and 2 ground truths: 4


@pytest.mark.parametrize(
    ("limit", "expected"), [(0.95, [[20.0, 20, 60, 60]]), (None, [[20.0, 20, 60, 60], [24.0, 20, 64, 60]])]
)
def test_a_positive_s_place_before_it_moved_tells_whether_it_is_handed_on(limit, expected):
    """Stage 1 moves every box right by a tenth of its width. The proposal, at IoU 36 / 44 = .82, moves onto the object
    and is handed on; the appended ground truth, at IoU 1, moves to IoU .82 and is not. (By the IoU after the move it
    would be the other way round.)
    """
    semantics = replace(PAPER, drop_near_ground_truth=limit, append_ground_truth="first")
    model = cascade([Fixed([0.0, 0], [[1.0, 0, 0, 0]]), Fixed([0.0, 0], [[0.0] * 4])], semantics)
    model.sampling = SamplingConfig(rois=16, positive_fraction=1.0)
    truth = targets_of([20.0, 20, 60, 60])
    _, second = model.train_stages(ONE, proposals_of([16.0, 20, 56, 60]), truth, SIZES)
    handed_on = second.output.boxes[second.valid]
    torch.testing.assert_close(handed_on[handed_on[:, 0].argsort()], torch.tensor(expected))


def test_a_background_box_is_handed_on_wherever_it_lies():
    """The rule applies to positives: with u = .99, a box at IoU .97 is background and stays."""
    semantics = replace(PAPER, append_ground_truth="first")
    stages = [StageConfig(iou=0.99), StageConfig(iou=0.5)]
    model = cascade([Fixed([0.0, 0], [[0.0] * 4]) for _ in range(2)], semantics, stages)
    model.sampling = SamplingConfig(rois=16, positive_fraction=0.5)
    box = [20.0, 20, 60, 58.8]
    seen = list(model.train_stages(ONE, proposals_of(box), targets_of([20.0, 20, 60, 60]), SIZES))
    assert seen[1].output.boxes[seen[1].valid].tolist() == [pytest.approx(box)]


def test_small_objects_are_neither_learnt_nor_background_where_asked():
    """Two objects, 4 x 40 and 40 x 40, with a box on each and one elsewhere: two of the three boxes are trained on."""
    small, large = [10.0, 10, 14, 50], [20.0, 50, 60, 90]
    for least, valid in (
        (5.0, [[20.0, 50, 60, 90], [70, 0, 90, 20]]),
        (0.0, [[10.0, 10, 14, 50], [20, 50, 60, 90], [70, 0, 90, 20]]),
    ):
        semantics = replace(DETECTRON2, min_object_size=least, append_ground_truth="first")
        model = cascade([Fixed([0.0, 0], [[0.0] * 4])], semantics)
        model.sampling = SamplingConfig(rois=16, positive_fraction=1.0)
        (seen,) = model.train_stages(
            ONE, proposals_of(small, large, [70.0, 0, 90, 20]), targets_of(small, large), SIZES
        )
        assert sorted({tuple(box) for box in seen.output.boxes[seen.valid].tolist()}) == [tuple(box) for box in valid]


# -- stages that share a head --------------------------------------------------------------------------------------


def shared(semantics=DETECTRON2, **inference) -> tuple[Cascade, Fixed, Fixed]:
    """Return stages a, a, b: a moves boxes right by a tenth of their width (in stage 1's units), b not at all."""
    a, b = Fixed([0.0, 1], [[1.0, 0, 0, 0]]), Fixed([0.0, 3], [[0.0] * 4])
    stages = [StageConfig(iou=u, std=(s, s, 0.2, 0.2)) for u, s in ((0.5, 0.1), (0.6, 0.05), (0.7, 0.01))]
    options = InferenceConfig(score_threshold=0.0, **inference)
    loss = SmoothL1Loss(find_preset(semantics.name).box_loss)
    model = Cascade([a, a, b], stages, loss, semantics, SamplingConfig(rois=16, positive_fraction=1.0), options)
    return model, a, b


def test_stages_that_share_a_head_are_trained_each_by_its_own_u_and_statistics():
    """The proposal has IoU .57 with the object and moves right to .70 and to .78, as does the appended ground truth."""
    model, a, b = shared(replace(DETECTRON2, append_ground_truth="first"))
    truth = targets_of([31.0, 20, 71, 60])
    seen = list(model.train_stages(ONE, proposals_of([20.0, 20, 60, 60]), truth, SIZES))
    assert len(seen) == 3
    left = [trained.output.boxes[0, :, 0].min(dim=0) for trained in seen]
    assert [x.values.item() for x in left] == pytest.approx([20, 24, 26])  # by .1, then by .05 of its width
    ious = [trained.iou[0, x.indices].item() for trained, x in zip(seen, left, strict=True)]
    assert ious == pytest.approx([29 / 51, 33 / 47, 35 / 45])
    found = losses_of(model, ONE, proposals_of([20.0, 20, 60, 60]), truth, SIZES)
    assert set(found) == {f"loss_{kind}_stage{t}" for kind in ("classifier", "box_reg") for t in (1, 2, 3)}
    # L1 of the proposal and the moved ground truth: each predicts 1, where b^t -> truth needs (truth - x) / 40 / std
    x = torch.tensor([[20.0, 31], [24, 35], [26, 37]])
    for t, (std, predicted) in enumerate(((0.1, 1.0), (0.05, 1.0), (0.01, 0.0))):
        expected = ((31 - x[t]) / 40 / std - predicted).abs().mean()
        assert found[f"loss_box_reg_stage{t + 1}"].item() == pytest.approx(expected.item(), rel=1e-4)
    sum(found.values()).backward()
    assert a.deltas.grad is not None
    assert b.deltas.grad is not None


def test_a_shared_head_s_gradient_is_the_sum_of_its_stages():
    grads = []
    for names in (("stage1",), ("stage2",), ("stage1", "stage2"), ("stage1", "stage2", "stage3")):
        model, a, _ = shared()
        found = losses_of(model, ONE, some_proposals(), targets_of([20.0, 20, 60, 60]), SIZES)
        sum(loss for name, loss in found.items() if name.endswith(names)).backward()
        grads.append(a.logits.grad)
    torch.testing.assert_close(grads[0] + grads[1], grads[2])
    torch.testing.assert_close(grads[2], grads[3])


def test_stages_that_share_a_head_run_it_where_they_stand():
    model, *_ = shared()
    outputs = model.run(ONE, torch.tensor([[[20.0, 20, 60, 60]]]), SIZES, 3)
    assert [output.boxes[0, 0, 0].item() for output in outputs] == pytest.approx([20, 24, 26])
    assert [output.logits[0, 0, 1].item() for output in outputs] == [1, 1, 3]
    p, q = (torch.tensor(x).sigmoid().item() for x in (1.0, 3.0))
    for rois in ("last", "own"):
        model, *_ = shared(ensemble_rois=rois)
        assert model.scores(ONE, outputs).item() == pytest.approx((2 * p + q) / 3)
        assert model.scores(ONE, outputs[1:], first=2).item() == pytest.approx((p + q) / 2)
    found = shared()[0](ONE, proposals_of([20.0, 20, 60, 60]), SIZES)
    assert found.boxes[0, 0].tolist() == pytest.approx([26, 20, 66, 60])


def test_the_pooled_gradient_is_shared_among_stages_not_heads():
    gradients = []
    for average in (False, True):
        torch.manual_seed(0)
        one, other = random_heads(2)
        model = cascade(
            [one, one, other], replace(DETECTRON2, average_pooled_gradient=average), preset_stages("detectron2", 3)
        )
        factor = torch.ones(1, requires_grad=True)
        torch.manual_seed(1)
        sum(losses_of(model, [factor], some_proposals(), targets_of([10.0, 10, 40, 40]), SIZES).values()).backward()
        gradients.append(factor.grad.item())
    assert gradients[1] == pytest.approx(gradients[0] / 3, rel=1e-4)


def test_stages_behind_the_trained_ones_only_run():
    heads = random_heads(2)
    stages = preset_stages("detectron2", 3)
    loss, sampling = SmoothL1Loss(find_preset("detectron2").box_loss), SamplingConfig(rois=16)
    model = Cascade([heads[0], heads[1], heads[1]], stages, loss, DETECTRON2, sampling, EVERYTHING, trained=2)
    found = losses_of(model, ONE, some_proposals(), targets_of([10.0, 10, 40, 40]), SIZES)
    assert set(found) == {f"loss_{kind}_stage{t}" for kind in ("classifier", "box_reg") for t in (1, 2)}
    assert len(model.run(ONE, some_proposals().boxes, SIZES, 3)) == 3


def test_the_class_s_regressor_refines_in_training_too():
    """A positive is moved by its own class (2: two tenths), background by its most likely class (3)."""
    deltas = [[1.0, 0, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0]]
    heads = [Fixed([9.0, 0, 0, 1], deltas), Fixed([0.0, 0, 0, 0], deltas)]
    model = cascade(heads, DETECTRON2)
    proposals = proposals_of([10.0, 10, 20, 18], [60.0, 60, 70, 70])
    losses_of(model, ONE, proposals, targets_of([10.0, 10, 20, 20], labels=[2]), SIZES)
    assert contains(model.heads[0].pool.asked[1], [12.0, 10, 22, 18])
    assert contains(model.heads[0].pool.asked[1], [63.0, 60, 73, 70])


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_detectron2_shares_the_pooled_gradient_among_the_stages(stages):
    gradients, weights, values = [], [], []
    for average in (False, True):
        model = cascade(random_heads(stages), replace(DETECTRON2, average_pooled_gradient=average))
        factor = torch.ones(1, requires_grad=True)
        torch.manual_seed(1)
        total = sum(losses_of(model, [factor], some_proposals(), targets_of([10.0, 10, 40, 40]), SIZES).values())
        total.backward()
        gradients.append(factor.grad.item())
        weights.append(model.heads[0].fc1.weight.grad)
        values.append(total.item())
    assert gradients[1] == pytest.approx(gradients[0] / stages, rel=1e-4)
    assert values[1] == pytest.approx(values[0], rel=1e-6)  # the value stays the same
    torch.testing.assert_close(weights[1], weights[0])  # and so do the heads' own gradients


def test_no_gradient_flows_from_stage_to_stage():
    """A stage's boxes are its input, not a function it trains (Fast R-CNN's approximation, as in every peer)."""
    model = cascade(random_heads(), DETECTRON2)
    found = losses_of(model, ONE, some_proposals(), targets_of([10.0, 10, 40, 40]), SIZES)
    (found["loss_classifier_stage3"] + found["loss_box_reg_stage3"]).backward()
    assert all(p.grad is None for head in model.heads[:2] for p in head.parameters())
    assert all(p.grad is not None for p in model.heads[2].parameters())


@pytest.mark.parametrize("semantics", SEMANTICS.values(), ids=SEMANTICS)
def test_without_objects_or_proposals_risks_are_finite_and_reach_every_head(semantics):
    nothing = Targets(torch.zeros(1, 1, 4), torch.zeros(1, 1).long(), torch.zeros(1, 1).bool(), None)
    for valid in (True, False):
        model = cascade(random_heads(agnostic=False), semantics)
        proposals = some_proposals()._replace(valid=torch.full((1, 12), valid))
        found = losses_of(model, ONE, proposals, nothing, SIZES)
        sum(found.values()).backward()
        assert all(bool(x.isfinite()) for x in found.values())
        assert all(x.item() == 0 for name, x in found.items() if "box_reg" in name)
        assert (found["loss_classifier_stage1"].item() > 0) == valid
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.heads.parameters())


# -- early rejection ---------------------------------------------------------------------------------------------


def test_as_many_survivors_as_proposals_change_nothing():
    heads, proposals = random_heads(), some_proposals()
    every = cascade(heads)(ONE, proposals, SIZES)
    same = cascade(heads, inference=replace(EVERYTHING, survivors=12))(ONE, proposals, SIZES)
    assert all(torch.equal(a, b) for a, b in zip(every[:4], same[:4], strict=True))


def test_survivors_are_those_least_taken_for_background():
    heads, proposals = random_heads(), some_proposals()
    proposals = proposals._replace(valid=proposals.valid.index_fill(1, torch.tensor([2, 3]), False))
    model = cascade(heads, inference=replace(EVERYTHING, survivors=5))
    model(ONE, proposals, SIZES)
    first, *later = model.heads[0].pool.asked
    assert first.shape[1] == 12
    assert [x.shape[1] for x in later] == [5, 5]
    background = heads[0](ONE, proposals.boxes)[0].softmax(dim=-1)[0, :, 0]
    background[[2, 3]] = math.inf
    wanted = background.argsort()[:5]
    out = model.run(ONE, proposals.boxes, SIZES, 2)[1].boxes[0, wanted]
    torch.testing.assert_close(later[0][0], out)


def test_independent_classes_are_scored_and_rejected_by_their_own_logits():
    heads, proposals = random_heads(), some_proposals()
    loss = SmoothL1Loss(find_preset("detectron2").box_loss)
    model = Cascade(
        heads, preset_stages("detectron2", 3), loss, DETECTRON2, SamplingConfig(), replace(EVERYTHING, survivors=5),
        classification=Sigmoid(),
    )  # fmt: skip
    outputs = model.run(ONE, proposals.boxes, SIZES, 3)
    expected = sum(output.logits[..., 1:].sigmoid() for output in outputs) / 3
    torch.testing.assert_close(model.scores(ONE, outputs), expected)
    torch.testing.assert_close(model.stage_scores(outputs[1]), outputs[1].logits[..., 1:].sigmoid())
    model.heads[1].pool.asked.clear()
    model(ONE, proposals, SIZES)
    wanted = outputs[0].logits[0, :, 1:].amax(dim=-1).argsort(descending=True)[:5]
    torch.testing.assert_close(model.heads[1].pool.asked[0][0], outputs[1].boxes[0, wanted])


def test_what_is_rejected_is_not_detected():
    heads, proposals = random_heads(), some_proposals()
    found = cascade(heads, inference=replace(EVERYTHING, survivors=1, nms_iou=1.0))(ONE, proposals, SIZES)
    assert len({tuple(box) for box in found.boxes[found.valid].tolist()}) == 1


def test_a_single_stage_rejects_nothing():
    heads, proposals = random_heads(1), some_proposals()
    found = [
        cascade(heads, inference=replace(EVERYTHING, survivors=n))(ONE, proposals, SIZES).valid.sum() for n in (1, None)
    ]
    assert found[0] == found[1] > 1
