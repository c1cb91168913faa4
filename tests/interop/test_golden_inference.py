"""The detector computes what detectron2 and mmdetection compute, from the image to the detections.

Random weights amplify rounding: maps differ by up to 2e-4 between processors, which the tolerances allow. The last
test is the strict one. With recordings next to the repository, it needs convolutions that round as for the peers.
"""

import pytest
import torch
from torch import Tensor

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.models.detector import Detector, to_list
from cascade_rcnn.structures import ImageBatch, StageOutput


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < tolerance


def thinned(x: Tensor, held: Tensor) -> Tensor:
    """Subsample large maps in rows and columns, as the files store them."""
    step = -(-x.shape[-1] // held.shape[-1])
    return x[:, :, ::step, ::step]


@pytest.fixture(scope="module")
def model(peer) -> Detector:
    return peer.build()


@pytest.fixture(scope="module")
def images(peer, model) -> ImageBatch:
    return model.preprocess([peer.infer["image_rgb"].permute(2, 0, 1)])


@pytest.fixture(scope="module")
def features(model, images) -> list[Tensor]:
    with torch.no_grad():
        return model.features(images.pixels)


def same_detections(peer, found: dict[str, Tensor], boxes: Tensor, *, pixels: float, score: float, but: int) -> None:
    """Check that detections match one to one, in any order, except for `but` of them, which rounding decides in NMS."""
    labels, scores = peer.infer["final_labels"] + 1, peer.infer["final_scores"]
    distance = (found["boxes"][:, None] - boxes).abs().amax(-1)
    distance = distance.masked_fill(found["labels"][:, None] != labels, torch.inf)
    nearest, index = distance.min(dim=1)
    same = nearest < pixels
    assert abs(len(found["boxes"]) - len(boxes)) <= but
    assert len(index[same].unique()) >= len(boxes) - but
    assert float((found["scores"] - scores[index])[same].abs().max()) < score


def test_preprocessing(peer, images):
    held = peer.infer["input"]
    close(thinned(images.pixels, held), held, 1e-6)


def test_feature_pyramid(peer, features):
    for level, x in enumerate(features, start=2):
        held = peer.infer[f"fpn_p{level}"]
        close(thinned(x, held), held, 6e-4)
        statistics = torch.stack([x.mean(), x.std(), x.abs().max()])
        close(statistics, peer.infer[f"fpn_stats_p{level}"], 6e-4)


@torch.no_grad()
def test_rpn_head_and_anchors(peer, model, features):
    logits, deltas = model.rpn(features)
    anchors = model.rpn.anchors(features)
    for level, x in enumerate(features, start=2):
        shape = (1, *x.shape[-2:], -1)
        logit = logits[level - 2].view(shape).permute(0, 3, 1, 2)
        delta = deltas[level - 2].view(shape).permute(0, 3, 1, 2)
        held = peer.infer[f"rpn_logits_p{level}"], peer.infer[f"rpn_deltas_p{level}"]
        close(thinned(logit, held[0]), held[0], 1e-3)
        close(thinned(delta, held[1]), held[1], 3e-4)
        close(anchors[level - 2][[0, 1, 2, -1]], peer.infer[f"anchors_first_last_p{level}"], 1e-4)


@torch.no_grad()
def test_proposals(peer, model, features, images):
    logits, deltas = model.rpn(features)
    proposals, scores = model.rpn.propose(model.rpn.anchors(features), logits, deltas, images.sizes)
    assert proposals.valid.all()
    distance = (peer.infer["proposal_boxes"][:, None] - proposals.boxes[0]).abs().amax(-1)
    for nearest in (distance.amin(1), distance.amin(0)):  # except a few, where NMS sees overlaps near its threshold
        assert float((nearest < 0.03).float().mean()) >= 0.99
    best = scores[0] if peer.origin == "detectron2" else scores[0].sigmoid()
    close(best, peer.infer["proposal_logits" if peer.origin == "detectron2" else "proposal_scores"], 5e-3)


@torch.no_grad()
def test_roi_align(peer, model, features):
    boxes = peer.infer["stage0_in_boxes"][None, :8]
    pooled = model.roi_heads.heads[0].pool(features, boxes)
    close(pooled, peer.infer["stage0_pooled_first8"], 6e-4)


@torch.no_grad()
def test_stages_and_ensemble(peer, model, features, images):
    cascade, outputs = model.roi_heads, []
    for t in range(len(peer.config.stages)):
        boxes = peer.infer[f"stage{t}_in_boxes"][None]
        outputs.append(StageOutput(boxes, *cascade.heads[t](features, boxes)))
        close(outputs[t].logits[0].roll(-1, dims=1), peer.infer[f"stage{t}_logits"], 2e-3)
        close(outputs[t].deltas[0].flatten(1), peer.infer[f"stage{t}_deltas"], 1e-3)
        if f"stage{t}_out_boxes" in peer.infer:
            refined = cascade.decode(t + 1, outputs[t])[:, :, 0]
            refined = box_ops.clip(refined, images.sizes) if peer.origin == "mmdet" else refined
            close(refined[0], peer.infer[f"stage{t}_out_boxes"], 0.02)
    close(cascade.scores(features, outputs)[0], peer.infer["mean_probs"][:, :-1], 3e-4)


@torch.no_grad()
def test_stages_hand_over_their_boxes(peer, model, features, images):
    proposals = peer.infer["stage0_in_boxes"][None]
    outputs = model.roi_heads.run(features, proposals, images.sizes, len(peer.config.stages))
    for t, output in enumerate(outputs):
        close(output.boxes[0], peer.infer[f"stage{t}_in_boxes"], 0.02)


@torch.no_grad()
def test_detections(peer, model, images):
    found = model.detect(images.pixels, images.sizes)
    expected = peer.infer["final_boxes"]
    same_detections(peer, to_list(found, images, model.config)[0], expected, pixels=0.03, score=1e-3, but=2)
    enlarged = images._replace(original_sizes=torch.tensor([[400.0, 600.0]]))
    expected = peer.infer["final_boxes_rescaled_400x600"]
    same_detections(peer, to_list(found, enlarged, model.config)[0], expected, pixels=0.04, score=1e-3, but=2)


@torch.no_grad()
def test_detections_to_the_last_digit(peer, sharp, two_threads):
    """With two threads, like the peers."""
    if not sharp:
        pytest.skip("convolutions round here otherwise than where the peers ran (another processor)")
    found = peer.build()([peer.infer["image_rgb"].permute(2, 0, 1)])[0]
    same_detections(peer, found, peer.infer["final_boxes"], pixels=0.01, score=1e-4, but=0)
