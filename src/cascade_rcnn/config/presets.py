"""The presets: the choices of the paper's released code and of the two large reimplementations, as data."""

from typing import Literal

from cascade_rcnn.config.checks import Config
from cascade_rcnn.config.heads import SemanticsConfig, StageConfig, Std
from cascade_rcnn.config.losses import SmoothL1Config
from cascade_rcnn.config.rpn import AnchorConfig, RPNConfig
from cascade_rcnn.errors import UserError


class Preset(Config, frozen=True, kw_only=True):
    """Everything that depends on the preset."""

    semantics: SemanticsConfig
    stages: tuple[StageConfig, ...]  # IoU thresholds, target statistics and weights of up to four stages
    box_loss: SmoothL1Config
    iou_loss_weight: float  # if GIoU or a related loss is used instead
    rpn: RPNConfig  # for a Faster R-CNN with a feature pyramid
    cascade_proposals: int  # `post_nms_train` with several stages
    rpn_levels: int  # pyramid levels; further anchor sizes share the last one
    score_threshold: float
    masks: Literal["first", "every"] = "every"  # a mask head on the first stage's positives, or one on each stage's

    @property
    def name(self) -> str:
        """The preset's name in options and configs."""
        return self.semantics.name


def _stages(
    stds: tuple[Std, ...], weights: tuple[float, ...], multipliers: tuple[float, ...]
) -> tuple[StageConfig, ...]:
    # The fourth stage's u is the paper's (section 5.4); its statistics were not published and are extrapolated.
    columns = zip((0.5, 0.6, 0.7, 0.75), stds, weights, multipliers, strict=True)
    return tuple(StageConfig(iou=u, std=s, loss_weight=w, lr_multiplier=m) for u, s, w, m in columns)


_CAFFE_STDS: tuple[Std, ...] = (
    (0.1, 0.1, 0.2, 0.2),
    (0.05, 0.05, 0.1, 0.1),
    (0.033, 0.033, 0.067, 0.067),
    (0.025, 0.025, 0.05, 0.05),
)
_DETECTRON2_STDS: tuple[Std, ...] = tuple((0.1 / t, 0.1 / t, 0.2 / t, 0.2 / t) for t in (1, 2, 3, 4))
_EQUAL, _HALVES, _DOUBLES = (1.0,) * 4, (1.0, 0.5, 0.25, 0.125), (1.0, 2.0, 4.0, 8.0)

DETECTRON2 = Preset(
    semantics=SemanticsConfig(),
    stages=_stages(_DETECTRON2_STDS, _EQUAL, _EQUAL),
    box_loss=SmoothL1Config(),
    iou_loss_weight=1.0,
    rpn=RPNConfig(),
    cascade_proposals=2000,
    rpn_levels=5,
    score_threshold=0.05,
    masks="first",
)
MMDET = Preset(
    semantics=SemanticsConfig(
        name="mmdet",
        resample=True,
        append_ground_truth="every-removed",
        average_pooled_gradient=False,
        clamp_shrink=True,
        clip_between_stages=True,
        ensemble="logits",
        ensemble_rois="own",
    ),
    stages=_stages(_CAFFE_STDS, _HALVES, _EQUAL),
    box_loss=SmoothL1Config(beta=1.0),
    iou_loss_weight=10.0,
    rpn=RPNConfig(
        low_quality_iou=0.3,
        low_quality_reassigns=True,
        trained_anchors="inside",
        box_loss=SmoothL1Config(beta=1 / 9),
    ),
    cascade_proposals=2000,
    rpn_levels=5,
    score_threshold=0.05,
)
PAPER = Preset(
    semantics=SemanticsConfig(
        name="paper",
        resample=False,
        append_ground_truth="every",
        drop_near_ground_truth=0.95,
        average_pooled_gradient=False,
        min_object_size=5.0,
        bias_lr_multiplier=2.0,
        clamp_shrink=False,
        clip_between_stages=False,
        ensemble="probabilities",
        ensemble_rois="last",
    ),
    stages=_stages(_CAFFE_STDS, _HALVES, _DOUBLES),
    box_loss=SmoothL1Config(beta=1.0),
    iou_loss_weight=1.0,
    rpn=RPNConfig(
        anchors=AnchorConfig(offset=0.5),
        shared=False,
        pre_nms_train=1500,
        post_nms_train=6000,  # the released code has no overall limit in training: four levels of at most 1500
        min_size=5.0,
        low_quality_iou=0.2,
        low_quality_reassigns=True,
        by_level=True,
        trained_anchors="mostly-inside",
        box_loss=SmoothL1Config(beta=1.0),
        box_normalizer="coordinates",
    ),
    cascade_proposals=6000,
    rpn_levels=4,  # P2 to P5
    score_threshold=0.001,
)
PRESETS = {preset.name: preset for preset in (PAPER, DETECTRON2, MMDET)}


def find_preset(name: str) -> Preset:
    """Return a preset by name. Raises UserError if there is none."""
    if name not in PRESETS:
        raise UserError(f"semantics='{name}': give one of {', '.join(PRESETS)}")
    return PRESETS[name]


def preset_stages(name: str, number: int) -> tuple[StageConfig, ...]:
    """Return the first `number` (1..4) stages of a preset: IoU thresholds, target statistics, loss weights."""
    if not 1 <= number <= 4:
        raise UserError(
            f"stages={number}: a preset has 1 to 4 stages; for more, build a ModelConfig with your own StageConfig(...)"
        )
    return find_preset(name).stages[:number]
