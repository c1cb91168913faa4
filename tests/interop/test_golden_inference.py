"""The detector computes what detectron2 and mmdetection compute, from the image to the detections.

In the peers a fixed batch norm is a pass of its own, here it is folded into the convolution: the same function, rounded
elsewhere, and these random weights amplify rounding. So the tight comparisons are made with the model not folded, and
one with the model as it is used.
"""

import pytest
import torch
from torch import Tensor

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.heads.cascade import StageOutput
from cascade_rcnn.models.detector import Detector, to_list
from cascade_rcnn.structures import Images


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < tolerance


def thinned(x: Tensor, level: int) -> Tensor:
    """As the files hold it: of P2 and P3, every 4th row and column."""
    return x[:, :, ::4, ::4] if level < 4 else x


@pytest.fixture(scope="module")
def model(peer) -> Detector:
    return peer.build_unfolded()


@pytest.fixture(scope="module")
def images(peer, model) -> Images:
    return model.preprocess([peer.infer["image_rgb"].permute(2, 0, 1)])


@pytest.fixture(scope="module")
def features(model, images) -> list[Tensor]:
    with torch.no_grad():
        return model.features(images.pixels)


def matched(
    found: dict[str, Tensor], boxes: Tensor, scores: Tensor, labels: Tensor, pixels: float, score: float
) -> None:
    """The same detections one to one, in any order (near ties)."""
    distance = (found["boxes"][:, None] - boxes).abs().amax(-1)
    distance = distance.masked_fill(found["labels"][:, None] != labels, torch.inf)
    nearest, index = distance.min(dim=1)
    assert len(boxes) == len(found["boxes"])
    assert sorted(index.tolist()) == list(range(len(boxes)))
    assert float(nearest.max()) < pixels
    assert float((found["scores"] - scores[index]).abs().max()) < score


def test_preprocessing(peer, images):
    close(images.pixels[:, :, ::4, ::4], peer.infer["input"], 1e-6)


def test_feature_pyramid(peer, features):
    for level, x in enumerate(features, start=2):
        close(thinned(x, level), peer.infer[f"fpn_p{level}"], 5e-5)
        statistics = torch.stack([x.mean(), x.std(), x.abs().max()])
        close(statistics, peer.infer[f"fpn_stats_p{level}"], 5e-5)


@torch.no_grad()
def test_rpn_head_and_anchors(peer, model, features):
    logits, deltas = model.rpn(features)
    anchors = model.rpn.anchors(features)
    for level, x in enumerate(features, start=2):
        shape = (1, *x.shape[-2:], -1)
        logit = logits[level - 2].view(shape).permute(0, 3, 1, 2)
        delta = deltas[level - 2].view(shape).permute(0, 3, 1, 2)
        close(thinned(logit, level), peer.infer[f"rpn_logits_p{level}"], 1e-4)
        close(thinned(delta, level), peer.infer[f"rpn_deltas_p{level}"], 2e-5)
        close(anchors[level - 2][[0, 1, 2, -1]], peer.infer[f"anchors_first_last_p{level}"], 1e-4)


@torch.no_grad()
def test_proposals(peer, model, features, images):
    logits, deltas = model.rpn(features)
    proposals, scores = model.rpn.propose(model.rpn.anchors(features), logits, deltas, images.sizes)
    assert proposals.valid.all()
    distance = (peer.infer["proposal_boxes"][:, None] - proposals.boxes[0]).abs().amax(-1)
    assert float(distance.min(dim=1).values.max()) < 0.01
    assert float(distance.min(dim=0).values.max()) < 0.01
    best = scores[0] if peer.origin == "detectron2" else scores[0].sigmoid()
    close(best, peer.infer["proposal_logits" if peer.origin == "detectron2" else "proposal_scores"], 1e-4)


@torch.no_grad()
def test_roi_align(peer, model, features):
    boxes = peer.infer["stage0_in_boxes"][None, :8]
    pooled = model.roi_heads.pool(features, boxes).view(8, 7, 7, -1).permute(0, 3, 1, 2)
    close(pooled, peer.infer["stage0_pooled_first8"], 5e-5)


@torch.no_grad()
def test_stages_and_ensemble(peer, model, features, images):
    cascade, outputs = model.roi_heads, []
    for t in range(len(peer.config.stages)):
        boxes = peer.infer[f"stage{t}_in_boxes"][None]
        outputs.append(StageOutput(boxes, *cascade.heads[t](cascade.pool(features, boxes))))
        close(outputs[t].logits[0].roll(-1, dims=1), peer.infer[f"stage{t}_logits"], 2e-4)
        close(outputs[t].deltas[0].flatten(1), peer.infer[f"stage{t}_deltas"], 1e-4)
        if f"stage{t}_out_boxes" in peer.infer:
            refined = cascade.regress(t, outputs[t])[:, :, 0]
            refined = box_ops.clip(refined, images.sizes) if peer.origin == "mmdet" else refined
            close(refined[0], peer.infer[f"stage{t}_out_boxes"], 2e-3)
    close(cascade.scores(features, outputs)[0], peer.infer["mean_probs"][:, :-1], 2e-5)


@torch.no_grad()
def test_stages_hand_over_their_boxes(peer, model, features, images):
    proposals = peer.infer["stage0_in_boxes"][None]
    outputs = model.roi_heads.run(features, proposals, images.sizes, len(peer.config.stages))
    for t, output in enumerate(outputs):
        close(output.boxes[0], peer.infer[f"stage{t}_in_boxes"], 5e-3)


@torch.no_grad()
def test_detections(peer, model, images):
    found = model.detect(images.pixels, images.sizes)
    expected = peer.infer["final_scores"], peer.infer["final_labels"] + 1
    matched(to_list(found, images)[0], peer.infer["final_boxes"], *expected, 0.01, 1e-4)
    enlarged = images._replace(original_sizes=torch.tensor([[400.0, 600.0]]))
    matched(to_list(found, enlarged)[0], peer.infer["final_boxes_rescaled_400x600"], *expected, 0.0125, 1e-4)


@torch.no_grad()
def test_detections_of_the_folded_model_through_the_list_border(peer):
    """At most two detections differ: overlaps within 1e-4 of NMS's threshold may fall on either side of it."""
    found = peer.build().eval()([peer.infer["image_rgb"].permute(2, 0, 1)])[0]
    distance = (found["boxes"][:, None] - peer.infer["final_boxes"]).abs().amax(-1)
    distance = distance.masked_fill(found["labels"][:, None] != peer.infer["final_labels"] + 1, torch.inf)
    nearest, index = distance.min(dim=1)
    same = nearest < 0.02
    assert len(nearest) == len(peer.infer["final_boxes"])
    assert int((~same).sum()) <= 2
    assert float((found["scores"] - peer.infer["final_scores"][index])[same].abs().max()) < 1e-3
