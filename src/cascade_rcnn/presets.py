"""What the presets mean, as data: the released code's (`paper`) and the two large reimplementations' own choices."""

from cascade_rcnn.config import Semantics, Stage, Std
from cascade_rcnn.errors import UserError

PAPER = Semantics(
    name="paper",
    resample=False,
    append_ground_truth="every",
    drop_near_ground_truth=0.95,
    average_pooled_gradient=False,
    min_object_size=5.0,
    box_beta=1.0,
    bias_lr_multiplier=2.0,
    rpn_box_beta=1.0,
    rpn_box_normalizer="coordinates",
    rpn_by_level=True,
    rpn_min_match_iou=0.2,
    rpn_rescue_reassigns=True,
    rpn_anchors="mostly-inside",
    clamp_shrink=False,
    clip_between_stages=False,
    ensemble="probabilities",
    ensemble_rois="last",
)
DETECTRON2 = Semantics()
MMDET = Semantics(
    name="mmdet",
    resample=True,
    append_ground_truth="every-removed",
    average_pooled_gradient=False,
    box_beta=1.0,
    rpn_box_beta=1 / 9,
    rpn_min_match_iou=0.3,
    rpn_rescue_reassigns=True,
    rpn_anchors="inside",
    clamp_shrink=True,
    clip_between_stages=True,
    ensemble="logits",
    ensemble_rois="own",
)
SEMANTICS = {preset.name: preset for preset in (PAPER, DETECTRON2, MMDET)}

# The fourth stage's u is the paper's (section 5.4); its statistics were never published and continue the series.
_IOUS = (0.5, 0.6, 0.7, 0.75)
_CAFFE_STDS: tuple[Std, ...] = (
    (0.1, 0.1, 0.2, 0.2),
    (0.05, 0.05, 0.1, 0.1),
    (0.033, 0.033, 0.067, 0.067),
    (0.025, 0.025, 0.05, 0.05),
)
_DETECTRON2_STDS: tuple[Std, ...] = tuple((0.1 / t, 0.1 / t, 0.2 / t, 0.2 / t) for t in (1, 2, 3, 4))


def preset_stages(semantics: str, number: int) -> tuple[Stage, ...]:
    """The first `number` (1..4) stages of a preset: thresholds, target statistics, loss weights."""
    if not 1 <= number <= 4:
        raise UserError(
            f"stages={number}: a preset has 1 to 4 stages; for more build a ModelConfig with your own Stage(...)"
        )
    halves = (1.0, 0.5, 0.25, 0.125)
    weights = (1.0,) * 4 if semantics == "detectron2" else halves
    multipliers = (1.0, 2.0, 4.0, 8.0) if semantics == "paper" else (1.0,) * 4
    stds = _DETECTRON2_STDS if semantics == "detectron2" else _CAFFE_STDS
    columns = zip(_IOUS, stds, weights, multipliers, strict=True)
    return tuple(Stage(iou=u, std=s, loss_weight=w, lr_multiplier=m) for u, s, w, m in columns)[:number]


# Proposals on a pyramid, by semantics and whether there are several stages: a level's into NMS, an image's out of it.
# detectron2's and mmdetection's cascade configs alike keep twice as many in training as their plain Faster R-CNN's. The
# released code has no cap over all levels in training: 6,000 is what four levels can put out.
_PEERS = {"pre_nms_train": 2000, "pre_nms_test": 1000, "post_nms_test": 1000}
PROPOSALS: dict[tuple[str, bool], dict[str, int]] = {
    **{(peer, False): {**_PEERS, "post_nms_train": 1000} for peer in ("detectron2", "mmdet")},
    **{(peer, True): {**_PEERS, "post_nms_train": 2000} for peer in ("detectron2", "mmdet")},
    **{("paper", several): {**_PEERS, "pre_nms_train": 1500, "post_nms_train": 6000} for several in (False, True)},
}
