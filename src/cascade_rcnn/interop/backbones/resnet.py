"""ResNet and ResNeXt at the peers."""

from typing import Any

from cascade_rcnn.config import NormConfig, ResNetConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.backbones.family import Family, Peer
from cascade_rcnn.interop.known import Known
from cascade_rcnn.interop.norms import detectron2_norm, mmdet_norm, seen_norm
from cascade_rcnn.interop.python_config import Settings
from cascade_rcnn.interop.renaming import Names, State, number_of

_DEPTHS: dict[tuple[str, tuple[int, ...]], int] = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}


def _describe(state: State) -> ResNetConfig:
    blocks = tuple(number_of(state, f"backbone.layer{k}.{{}}.conv1.weight") for k in (1, 2, 3, 4))
    bottleneck = "backbone.layer1.0.conv3.weight" in state
    depth = _DEPTHS.get(("bottleneck" if bottleneck else "basic", blocks))
    if depth is None:
        raise UserError(f"the backbone has {blocks} blocks in its four layers; ResNet-18, 34, 50, 101 and 152 convert")
    stem, norm = len(state["backbone.conv1.weight"]), seen_norm(state, "backbone.bn1") or NormConfig()
    if not bottleneck:
        planes = len(state["backbone.layer1.0.conv2.weight"])
        return ResNetConfig(depth=depth, stem=stem, planes=planes, norm=norm)  # type: ignore[arg-type]
    planes = len(state["backbone.layer1.0.conv3.weight"]) // 4
    width, per_group = state["backbone.layer1.0.conv2.weight"].shape[:2]
    return ResNetConfig(
        depth=depth,  # type: ignore[arg-type]
        stem=stem,
        planes=planes,
        norm=norm,
        groups=width // per_group,
        width_per_group=per_group * 64 // planes,
    )


_DETECTRON2: Names = (
    ("backbone.conv1", "backbone.bottom_up.stem.conv1"),
    ("backbone.bn1", "backbone.bottom_up.stem.conv1.norm"),
    *((f"backbone.layer{k}.{{}}.conv{{}}", f"backbone.bottom_up.res{k + 1}.{{}}.conv{{}}") for k in range(1, 5)),
    *((f"backbone.layer{k}.{{}}.bn{{}}", f"backbone.bottom_up.res{k + 1}.{{}}.conv{{}}.norm") for k in range(1, 5)),
    *((f"backbone.layer{k}.{{}}.downsample.0", f"backbone.bottom_up.res{k + 1}.{{}}.shortcut") for k in range(1, 5)),
    *(
        (f"backbone.layer{k}.{{}}.downsample.1", f"backbone.bottom_up.res{k + 1}.{{}}.shortcut.norm")
        for k in range(1, 5)
    ),
)


def _from_detectron2(seen: ResNetConfig, get: dict[str, Any]) -> ResNetConfig:
    norm = detectron2_norm(get["MODEL.RESNETS.NORM"], seen.norm)
    assert norm is not None
    return replace(
        seen,
        stride_in_1x1=get["MODEL.RESNETS.STRIDE_IN_1X1"],
        norm=norm,
        frozen_stages=get["MODEL.BACKBONE.FREEZE_AT"],
    )


def _stock(seen: ResNetConfig) -> dict[str, Any]:
    """ResNeXt starts from other pretrained weights."""
    if seen.groups == 1:
        return {}
    return {"MODEL.PIXEL_STD": [57.375, 57.12, 58.395], "MODEL.RESNETS.STRIDE_IN_1X1": False}


_KINDS = (("conv", "conv"), ("bn", "bn"), ("bn", "gn"))  # ours and mmdetection's, which tells apart what normalises
_MMDET: Names = (
    *((f"backbone.{ours}1", f"backbone.{theirs}1") for ours, theirs in _KINDS),
    *((f"backbone.layer{{}}.{{}}.{ours}{{}}", f"backbone.layer{{}}.{{}}.{theirs}{{}}") for ours, theirs in _KINDS),
    ("backbone.layer{}.{}.downsample.{}", "backbone.layer{}.{}.downsample.{}"),
)
_MMDET_KNOWN = Known(
    read={
        *("norm_cfg.num_groups", "norm_cfg.eps", "norm_cfg.requires_grad", "norm_eval", "style", "frozen_stages"),
    },
    required={
        "norm_cfg.type": ("BN", "SyncBN", "MMSyncBN", "GN"),
        "conv_cfg": (None,),
        "dcn": (None,),
        "plugins": (None,),
        "deep_stem": (False,),
        "avg_down": (False,),
        "in_channels": (3,),
        "num_stages": (4,),
        "out_indices": ([0, 1, 2, 3],),
        "strides": ([1, 2, 2, 2],),
        "dilations": ([1, 1, 1, 1],),
    },
    inert=r"(depth|groups|base_width|base_channels|stem_channels|zero_init_residual|norm_cfg\.momentum)$"
    r"|stage_with_dcn$",  # of none
)


def _from_mmdet(seen: ResNetConfig, get: Settings) -> ResNetConfig:
    norm = mmdet_norm(seen.norm, get("model.backbone.norm_cfg"))
    assert norm is not None
    if norm.kind != "group" and get("model.backbone.norm_eval", True):
        norm = replace(norm, kind="affine" if get("model.backbone.norm_cfg.requires_grad", True) else "frozen")
    return replace(
        seen,
        stride_in_1x1=get("model.backbone.style", "pytorch") == "caffe",
        norm=norm,
        frozen_stages=get("model.backbone.frozen_stages", 1) + 1,
    )


_TORCHVISION: Names = (
    *((f"backbone.{kind}1", f"backbone.body.{kind}1") for kind in ("conv", "bn")),
    *(
        (f"backbone.layer{{}}.{{}}.{kind}{{}}", f"backbone.body.layer{{}}.{{}}.{kind}{{}}")
        for kind in ("conv", "bn", "downsample.")
    ),
)

FAMILY = Family(
    config=ResNetConfig,
    describe=_describe,
    peers={
        "detectron2": Peer(
            sign=r"backbone\.bottom_up\.res2\.", names=_DETECTRON2, complete=_from_detectron2, stock=_stock
        ),
        "mmdet": Peer(
            sign=r"backbone\.layer1\.",
            names=_MMDET,
            complete=_from_mmdet,
            types=("ResNet", "ResNeXt"),
            known=_MMDET_KNOWN,
        ),
        "torchvision": Peer(sign=r"backbone\.body\.layer1\.", names=_TORCHVISION),
    },
)
