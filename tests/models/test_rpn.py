"""The RPN: anchors by hand, properties of proposals, and training samples."""

import math

import pytest
import torch
from torchvision.ops import box_iou

from cascade_rcnn import create_model
from cascade_rcnn.config import AnchorConfig, RPNConfig, SmoothL1Config, replace
from cascade_rcnn.config.presets import DETECTRON2, MMDET, PAPER, Preset
from cascade_rcnn.errors import UserError
from cascade_rcnn.losses import SmoothL1Loss
from cascade_rcnn.models.rpn import RegionProposalNetwork, base_anchors, gathered, grid_anchors
from cascade_rcnn.structures import Targets

STRIDES = (4, 8, 16, 32, 64)
SMALL = RPNConfig(
    anchors=AnchorConfig(sizes=(8, 16, 32)),
    pre_nms_train=30,
    pre_nms_test=20,
    post_nms_train=25,
    post_nms_test=15,
    samples=32,
)


def features(images: int = 2, size: int = 64, channels: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(images, channels, -(-size // s), -(-size // s), generator=generator) for s in STRIDES]


TRAINING = ("low_quality_iou", "low_quality_reassigns", "by_level", "trained_anchors", "box_loss", "box_normalizer")


def rpn_of(config: RPNConfig, strides: tuple[int, ...] = STRIDES, preset: Preset = DETECTRON2) -> RegionProposalNetwork:
    assert isinstance(config.box_loss, SmoothL1Config)
    return RegionProposalNetwork(6, strides, config, SmoothL1Loss(config.box_loss), preset.semantics, padding=32)


def network(config: RPNConfig = SMALL, preset: Preset = DETECTRON2) -> RegionProposalNetwork:
    """Return an RPN with random weights, configured like the preset."""
    torch.manual_seed(0)
    rpn = rpn_of(replace(config, **{name: getattr(preset.rpn, name) for name in TRAINING}), preset=preset)
    for layer in (rpn.conv, rpn.objectness, rpn.deltas):
        torch.nn.init.normal_(layer.weight, std=0.2)
    return rpn


def test_base_anchors_by_hand():
    """The area is 32^2; the ratio is height / width: sqrt(1/2), 1, sqrt(2)."""
    root = math.sqrt(2)
    expected = [
        [-16 * root, -8 * root, 16 * root, 8 * root],
        [-16, -16, 16, 16],
        [-8 * root, -16 * root, 8 * root, 16 * root],
    ]
    torch.testing.assert_close(base_anchors(AnchorConfig(), 0), torch.tensor(expected))
    rounded = base_anchors(AnchorConfig(rounded=True), 0)
    assert rounded.tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]


def test_grid_anchors_go_row_by_row_and_ratio_by_ratio():
    base = torch.tensor([[-1.0, -2, 1, 2], [-3, -3, 3, 3]])
    found = grid_anchors(base, height=2, width=3, step_y=4, step_x=8)
    assert found.shape == (12, 4)
    assert found[:2].tolist() == base.tolist()  # centred on the image's corner
    assert found[2].tolist() == [7, -2, 9, 2]  # the next cell lies to the right
    assert found[6].tolist() == [-1, 2, 1, 6]  # the next row is 4 below


def test_anchors_and_outputs_are_in_the_same_order():
    """One ratio has a bias and the map differs by cell: logits must be in the order of the anchors."""
    rpn = network()
    maps = features(1)
    logits, deltas = rpn(maps)
    anchors = rpn.anchors(maps)
    assert len(logits) == len(anchors) == 3
    assert [len(a) for a in anchors] == [x.shape[1] for x in logits] == [d.shape[1] for d in deltas] == [768, 192, 48]
    hidden = torch.relu(rpn.conv(maps[1]))
    y, x, ratio = 3, 5, 2
    row = (y * 8 + x) * 3 + ratio
    torch.testing.assert_close(logits[1][0, row], rpn.objectness(hidden)[0, ratio, y, x])
    torch.testing.assert_close(deltas[1][0, row], rpn.deltas(hidden)[0, 4 * ratio : 4 * ratio + 4, y, x])
    centre = (anchors[1][row, :2] + anchors[1][row, 2:]) / 2
    assert centre.tolist() == [x * 8, y * 8]


@pytest.mark.parametrize("training", [True, False])
def test_proposals_are_clipped_sorted_and_apart(training):
    rpn = network().train(training)
    maps, sizes = features(), torch.tensor([[64.0, 64], [40, 50]])
    proposals, logits = rpn.propose(rpn.anchors(maps), *rpn(maps), sizes)
    assert proposals.boxes.shape == (2, 25 if training else 15, 4)
    assert not proposals.boxes.requires_grad
    for boxes, valid, logit, (height, width) in zip(*proposals, logits, sizes.tolist(), strict=True):
        assert bool(valid.any())
        assert valid.tolist() == sorted(valid.tolist(), reverse=True)  # valid ones first
        assert logit[valid].tolist() == sorted(logit[valid].tolist(), reverse=True)
        assert bool((logit[~valid] == -math.inf).all())
        assert not boxes[~valid].any()
        found = boxes[valid]
        assert bool((found >= 0).all())
        assert bool((found[:, 2] <= width).all())
        assert bool((found[:, 3] <= height).all())
        assert bool((found[:, 2:] > found[:, :2]).all())


def test_nms_is_within_a_level_and_not_between():
    config = replace(SMALL, anchors=AnchorConfig(sizes=(16,), ratios=(1.0,)), pre_nms_test=300, post_nms_test=300)
    rpn = network(config).eval()
    maps = features(1)
    proposals, _ = rpn.propose(rpn.anchors(maps), *rpn(maps), torch.tensor([[64.0, 64]]))
    boxes = proposals.boxes[proposals.valid]
    assert len(boxes) > 5
    assert bool((box_iou(boxes, boxes).fill_diagonal_(0) <= 0.7 + 1e-6).all())
    # two levels whose best anchors decode to the same box: both are kept
    anchors = [torch.tensor([[0.0, 0, 20, 20]])] * 2
    both, _ = rpn.propose(anchors, [torch.ones(1, 1)] * 2, [torch.zeros(1, 1, 4)] * 2, torch.tensor([[64.0, 64]]))
    assert both.valid.sum() == 2
    assert both.valid[0, :2].all()


def test_fewer_anchors_than_slots():
    rpn = network(replace(SMALL, pre_nms_test=1000, post_nms_test=1000)).eval()
    maps = [torch.randn(1, 6, 1, 1) for _ in STRIDES]
    proposals, logits = rpn.propose(rpn.anchors(maps), *rpn(maps), torch.tensor([[3.0, 3]]))
    assert proposals.boxes.shape == (1, 1000, 4)
    assert logits.shape == proposals.valid.shape == (1, 1000)
    assert proposals.valid.sum() <= 9  # 3 levels x 1 cell x 3 ratios
    assert bool((proposals.boxes[~proposals.valid] == 0).all())


def test_small_proposals_are_dropped_where_asked():
    anchors = [torch.tensor([[0.0, 0, 5, 20], [30, 30, 50, 50]])]
    output = [torch.zeros(1, 2)], [torch.zeros(1, 2, 4)]
    sizes = torch.tensor([[64.0, 64]])
    assert network().propose(anchors, *output, sizes)[0].valid.sum() == 2
    assert network(replace(SMALL, min_size=5.0)).propose(anchors, *output, sizes)[0].valid.sum() == 1


def test_outputs_that_are_not_numbers_are_left_out():
    anchors = [torch.tensor([[0.0, 0, 5, 20], [30, 30, 50, 50], [10, 10, 20, 20]])]
    logits = [torch.tensor([[math.nan, 1.0, 0.5]])]
    deltas = [torch.tensor([[[0.0] * 4, [math.nan] * 4, [0.0] * 4]])]
    proposals, _ = network().propose(anchors, logits, deltas, torch.tensor([[64.0, 64]]))
    assert proposals.boxes[proposals.valid].tolist() == [[10, 10, 20, 20]]


def one_object(box: list[float], valid: bool = True) -> Targets:
    return Targets(torch.tensor([[box]]), torch.ones(1, 1, dtype=torch.int64), torch.tensor([[valid]]), None)


def test_loss_by_hand():
    """Two anchors: one on the object (IoU 0.8), one far away. L1: |dy| = 1/8 of the anchor's height, log 8/10."""
    rpn = network()
    anchors = [torch.tensor([[0.0, 0, 10, 10], [40, 40, 50, 50]])]
    logits, deltas = [torch.tensor([[2.0, -1.0]])], [torch.zeros(1, 2, 4)]
    found = rpn.loss(anchors, gathered(logits, deltas), one_object([0, 0, 10, 8]), torch.tensor([[64.0, 64]]))
    sigmoid = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))]
    expected = -(math.log(sigmoid[0]) + math.log(1 - sigmoid[1])) / 2
    assert found["loss_objectness"].item() == pytest.approx(expected)
    assert found["loss_rpn_box_reg"].item() == pytest.approx((0.1 + math.log(10 / 8)) / 2, rel=1e-5)


def test_loss_without_objects_is_background_alone_and_reaches_every_weight():
    rpn = network()
    maps = features(1)
    logits, deltas = rpn(maps)
    found = rpn.loss(
        rpn.anchors(maps), gathered(logits, deltas), one_object([0, 0, 0, 0], valid=False), torch.tensor([[64.0, 64]])
    )
    assert found["loss_objectness"].item() > 0
    assert found["loss_rpn_box_reg"].item() == 0
    sum(found.values()).backward()
    assert all(p.grad is not None for p in rpn.parameters())


@pytest.mark.parametrize(("preset", "trained"), [(PAPER, False), (DETECTRON2, True), (MMDET, False)])
def test_anchors_across_the_border(preset, trained):
    """Only detectron2 trains on it; the single anchor lies half outside the image."""
    rpn = network(preset=preset)
    anchors = [torch.tensor([[-5.0, 0, 5, 10]])]
    found = rpn.loss(
        anchors,
        gathered([torch.zeros(1, 1)], [torch.zeros(1, 1, 4)]),
        one_object([40, 40, 50, 50]),
        torch.tensor([[64.0, 64]]),
    )
    assert found["loss_objectness"].item() == pytest.approx(math.log(2) if trained else 0)


def test_anchors_a_quarter_beyond_the_border_are_trained_on_where_asked():
    """Anchors of 8 x 16 in an image 64 wide and 48 high: 2 pixels outside at the sides, 4 above and below."""
    rpn = network(preset=PAPER)
    rows = [
        [-2, 4, 6, 20],
        [-2.1, 4, 5.9, 20],
        [57.9, 4, 65.9, 20],
        [58, 4, 66, 20],
        [4, -4, 12, 12],
        [4, 36.1, 12, 52.1],
    ]
    usable = rpn._usable(torch.tensor([rows], dtype=torch.float32), torch.tensor([[48.0, 64]]))
    assert usable.tolist() == [[True, False, True, False, True, False]]


def test_anchors_half_a_stride_in():
    config = replace(SMALL, anchors=AnchorConfig(sizes=(8,), ratios=(1.0,), offset=0.5))
    anchors = rpn_of(config, (4,)).anchors([torch.zeros(1, 6, 2, 2)])[0]
    assert anchors.tolist() == [[-2, -2, 6, 6], [2, -2, 10, 6], [-2, 2, 6, 10], [2, 2, 10, 10]]


def test_loss_of_the_released_code_by_hand():
    """Two levels of two anchors; one, 20 x 16, is on the object, 20 x 20: dy = 2 / 16, dh = log(20 / 16). Each level's
    risks are averaged over its own samples, or over its positive's 4 coordinates, and weigh a half.
    """
    rpn = network(preset=PAPER)
    anchors = [
        torch.tensor([[10.0, 10, 30, 26], [40, 40, 50, 50]]),
        torch.tensor([[40.0, 10, 60, 30], [10, 40, 30, 60]]),
    ]
    logits, deltas = [torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, 1.0]])], [torch.zeros(1, 2, 4)] * 2
    found = rpn.loss(anchors, gathered(logits, deltas), one_object([10, 10, 30, 30]), torch.tensor([[64.0, 64]]))

    def miss(logit: float) -> float:
        return math.log(1 + math.exp(-logit))

    levels = [(miss(2) + miss(1)) / 2, (miss(0) + miss(-1)) / 2]
    assert found["loss_objectness"].item() == pytest.approx(sum(levels) / 2, rel=1e-5)
    boxes = 0.5 * (0.125**2 + math.log(20 / 16) ** 2) / 4
    assert found["loss_rpn_box_reg"].item() == pytest.approx(boxes / 2, rel=1e-5)


@pytest.mark.parametrize(("by_level", "expected"), [(True, [4, 4]), (False, None)])
def test_each_level_has_its_own_sample_where_asked(by_level, expected):
    """8 samples each from 4 background anchors on one level and 36 on the other."""
    corners = (
        8.0 * torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0)),
        8.0 * torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0)),
    )
    anchors = [torch.cat([corner, corner + 4], dim=1) for corner in corners]
    logits = [torch.zeros(1, len(a), requires_grad=True) for a in anchors]
    rpn = rpn_of(replace(SMALL, samples=8, by_level=by_level))
    deltas = [torch.zeros(1, len(a), 4) for a in anchors]
    found = rpn.loss(anchors, gathered(logits, deltas), one_object([50, 50, 60, 60]), torch.tensor([[64.0, 64]]))
    found["loss_objectness"].backward()
    drawn = [int((x.grad != 0).sum()) for x in logits if x.grad is not None]
    assert drawn == expected if by_level else sum(drawn) == 8
    assert found["loss_objectness"].item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(("preset", "trained"), [(PAPER, [3.0]), (DETECTRON2, [1.0, 3.0])])
def test_anchors_on_small_objects(preset, trained):
    """To the released code, an anchor on an object 4 pixels wide is neither object nor background."""
    anchors = [torch.tensor([[10.0, 10, 14, 30], [40, 40, 50, 50]])]
    found = network(preset=preset).loss(
        anchors,
        gathered([torch.tensor([[1.0, -3.0]])], [torch.zeros(1, 2, 4)]),
        one_object([10, 10, 14, 30]),
        torch.tensor([[64.0, 64]]),
    )
    expected = sum(math.log(1 + math.exp(-x)) for x in trained) / len(trained)
    assert found["loss_objectness"].item() == pytest.approx(expected, rel=1e-5)


# -- several sizes at a level, and levels with their own weights -----------------------------------------------------


def test_several_sizes_at_a_level_go_size_by_size():
    base = base_anchors(AnchorConfig(sizes=((16, 32),), ratios=(0.25, 1.0)), 0)
    assert base.tolist() == [[-16, -4, 16, 4], [-8, -8, 8, 8], [-32, -8, 32, 8], [-16, -16, 16, 16]]


def test_a_single_level_with_several_sizes():
    config = replace(SMALL, anchors=AnchorConfig(sizes=((8, 16, 32, 64),)), channels=10)
    rpn = rpn_of(config, (16,))
    assert rpn.conv.weight.shape == (10, 6, 3, 3)  # type: ignore[union-attr]
    x = torch.randn(1, 6, 3, 5)
    maps = [x, torch.full_like(x, math.nan)]  # the rest belongs to the heads
    logits, deltas = rpn(maps)
    anchors = rpn.anchors(maps)
    assert [a.shape for a in anchors] == [(3 * 5 * 12, 4)]
    assert [s.shape for s in logits] == [(1, 180)]
    assert [d.shape for d in deltas] == [(1, 180, 4)]
    row = (1 * 5 + 2) * 12 + 7  # y 1, x 2, size 32, ratio 1
    assert anchors[0][row].tolist() == [16, 0, 48, 32]
    hidden = torch.relu(rpn.conv(x))
    torch.testing.assert_close(logits[0][0, row], rpn.objectness(hidden)[0, 7, 1, 2])
    torch.testing.assert_close(deltas[0][0, row], rpn.deltas(hidden)[0, 28:32, 1, 2])


def test_levels_with_weights_of_their_own():
    """As in the released code: an RPN for each of P2..P5, and two sizes on the last."""
    config = replace(SMALL, anchors=AnchorConfig(sizes=(8, 16, (32, 64))), shared=False)
    rpn = rpn_of(config)
    maps = features(1)
    logits, _ = rpn(maps)
    assert [a.shape[0] for a in rpn.anchors(maps)] == [x.shape[1] for x in logits] == [768, 192, 16 * 6]
    sum(x.sum() for x in logits[:1]).backward()
    reached = {name for name, p in rpn.named_parameters() if p.grad is not None}
    assert reached == {f"{layer}.0.{leaf}" for layer in ("conv", "objectness") for leaf in ("weight", "bias")}


def test_shared_weights_need_as_many_sizes_at_each_level():
    with pytest.raises(UserError, match=r"same number of anchors at each; it has \[3, 6\]"):
        rpn_of(RPNConfig(anchors=AnchorConfig(sizes=(8, (16, 32)))))


def test_several_convolutions_follow_one_another():
    rpn = rpn_of(replace(SMALL, convs=2, channels=10))
    names = [f"conv.{k}.{leaf}" for k in (0, 1) for leaf in ("weight", "bias")]
    assert [name for name, _ in rpn.named_parameters()][:4] == names
    maps = features(1)
    first, second = rpn.conv  # type: ignore[misc]
    hidden = torch.relu(second(torch.relu(first(maps[0]))))
    expected = rpn.objectness(hidden).permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(rpn(maps)[0][0], expected)


@pytest.mark.parametrize(
    "config",
    [SMALL, replace(SMALL, convs=2), replace(SMALL, shared=False)],
    ids=["one", "two", "unshared"],
)
def test_some_anchors_have_the_outputs_and_gradients_that_they_have_among_all(config):
    """On maps of at most 16 x 20, including corners; the other anchors contribute zero to every gradient."""
    rpn = rpn_of(config)
    for parameter in rpn.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    maps = [torch.randn(2, 6, 16 // 2**k, 20 // 2**k, requires_grad=True) for k in range(3)]
    total = sum(len(level) for level in rpn.anchors(maps))
    rows = torch.tensor([[0, total - 1, 59, 60, 777], [1, 959, 960, 961, 500]])
    found, expected = rpn.at(maps, rows), gathered(*rpn(maps))(rows)
    wanted = [*rpn.parameters(), *maps]
    gradients = []
    for logits, deltas in (found, expected):
        loss = (logits.sin() + deltas.square().sum(-1)).sum()
        gradients.append(torch.autograd.grad(loss, wanted))
    for one, other in zip((*found, *gradients[0]), (*expected, *gradients[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_large_sample_is_read_from_all_anchors(monkeypatch):
    rpn = network()
    maps = features(1)
    calls = []
    monkeypatch.setattr(rpn, "forward", lambda x: calls.append(x) or RegionProposalNetwork.forward(rpn, x))
    rpn.at(maps, torch.arange(2)[None])
    assert not calls
    rpn.at(maps, torch.arange(200)[None])
    assert len(calls) == 1


def test_the_weights_learn_under_autocast():
    """Proposals are computed first, from the same weights, whose casts autocast caches for the step."""
    thin = {"backbone_width": 8, "pyramid_channels": 16, "head_width": 16, "rois": 8, "min_size": None}
    model = create_model("cascade_rcnn_resnet18_fpn", 2, **thin)
    target = {"boxes": torch.tensor([[8.0, 8, 60, 60]]), "labels": torch.tensor([2])}
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([torch.rand(3, 128, 192)], [target])
    sum(losses.values()).backward()
    assert all(float(p.grad.abs().max()) > 0 for p in model.rpn.parameters())
