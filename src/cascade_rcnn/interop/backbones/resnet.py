"""Convert ResNets and ResNeXts."""

from typing import Any

from cascade_rcnn.config import ContextConfig, DeformableConfig, NormConfig, ResNetConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.backbones.family import Family, Peer
from cascade_rcnn.interop.known import Known
from cascade_rcnn.interop.norms import detectron2_norm, mmdet_backbone_norm, seen_norm
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
        raise UserError(
            f"the backbone has {blocks} blocks in its four layers; only ResNet-18, 34, 50, 101 and 152 can be converted"
        )
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
        deformable=_deformable(state),
        context=_context(state),
    )


def _context(state: State) -> ContextConfig | None:
    found = {k: state.get(f"backbone.layer{k}.0.context.fc1.weight") for k in (1, 2, 3, 4)}
    ratios = {k: weight.shape[0] / weight.shape[1] for k, weight in found.items() if weight is not None}
    return ContextConfig(layers=tuple(ratios), ratio=min(ratios.values())) if ratios else None  # type: ignore[arg-type]


def _deformable(state: State) -> DeformableConfig | None:
    """Infer the kind from the number of offsets: two or three per tap and group, which may need a config to decide."""
    found = {k: state.get(f"backbone.layer{k}.0.conv2.offset.weight") for k in (1, 2, 3, 4)}
    numbers = {k: len(offset) for k, offset in found.items() if offset is not None}
    if not numbers:
        return None
    number = max(numbers.values())
    modulated = number % 18 > 0
    groups = max(1, number // (27 if modulated else 18))
    return DeformableConfig(layers=tuple(numbers), modulated=modulated, groups=groups)  # type: ignore[arg-type]


def _said_of(seen: DeformableConfig | None, *, modulated: bool) -> DeformableConfig | None:
    """Correct the inferred kind and number of groups by what the config says."""
    if seen is None or seen.modulated == modulated:
        return seen
    numbers = seen.groups * (3 if seen.modulated else 2)
    return replace(seen, modulated=modulated, groups=max(1, numbers // (3 if modulated else 2)))


_DETECTRON2: Names = (
    ("backbone.conv1", "backbone.bottom_up.stem.conv1"),
    ("backbone.bn1", "backbone.bottom_up.stem.conv1.norm"),
    *((f"backbone.layer{k}.{{}}.conv{{}}", f"backbone.bottom_up.res{k + 1}.{{}}.conv{{}}") for k in range(1, 5)),
    *((f"backbone.layer{k}.{{}}.bn{{}}", f"backbone.bottom_up.res{k + 1}.{{}}.conv{{}}.norm") for k in range(1, 5)),
    *(
        (f"backbone.layer{k}.{{}}.conv2.offset", f"backbone.bottom_up.res{k + 1}.{{}}.conv2_offset")
        for k in range(1, 5)
    ),
    *((f"backbone.layer{k}.{{}}.downsample.0", f"backbone.bottom_up.res{k + 1}.{{}}.shortcut") for k in range(1, 5)),
    *(
        (f"backbone.layer{k}.{{}}.downsample.1", f"backbone.bottom_up.res{k + 1}.{{}}.shortcut.norm")
        for k in range(1, 5)
    ),
)


_LAZY = "model.backbone.bottom_up."
_LAZY_NORMS = ("FrozenBN", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "GN")
_LAZY_KNOWN = Known(
    read={"freeze_at", "stages.stride_in_1x1"},
    required={
        "stem._target_": ("BasicStem",),
        "stem.in_channels": (3,),
        "stages._target_": ("make_default_stages",),
        **{f"{part}.norm": _LAZY_NORMS for part in ("stem", "stages")},
        "out_features": (["res2", "res3", "res4", "res5"],),
    },
    inert=r"stem\.out_channels$|stages\.(depth|num_groups|width_per_group|in_channels|out_channels)$",  # shapes tell
)


def _from_detectron2(seen: ResNetConfig, settings: dict[str, Any]) -> ResNetConfig:
    said = {name.removeprefix(_LAZY): value for name, value in settings.items() if name.startswith(_LAZY)}
    if said:  # a LazyConfig, where the defaults are those of the class
        named, stride = said.get("stages.norm", "BN"), said.get("stages.stride_in_1x1", False)
        frozen = said.get("freeze_at", 0)
        if said.get("stem.norm", "BN") != named:
            raise UserError(
                f"the config's stem has the norm {said.get('stem.norm')} and its stages {named}; only one for both can "
                "be converted"
            )
    else:
        named, stride = settings["MODEL.RESNETS.NORM"], settings["MODEL.RESNETS.STRIDE_IN_1X1"]
        frozen = settings["MODEL.BACKBONE.FREEZE_AT"]
    norm = detectron2_norm(named, seen.norm)
    assert norm is not None
    return replace(
        seen,
        stride_in_1x1=stride,
        norm=norm,
        deformable=_said_of(seen.deformable, modulated=settings["MODEL.RESNETS.DEFORM_MODULATED"]),
        frozen_stages=frozen,
    )


def _stock(seen: ResNetConfig) -> dict[str, Any]:
    """Return the settings that go with the pretrained weights of ResNeXt and group norm, and the kind of offsets."""
    stock: dict[str, Any] = {}
    if seen.groups > 1:
        stock |= {"MODEL.PIXEL_STD": [57.375, 57.12, 58.395], "MODEL.RESNETS.STRIDE_IN_1X1": False}
    if seen.norm.kind == "group":
        stock |= {"MODEL.RESNETS.NORM": "GN", "MODEL.RESNETS.STRIDE_IN_1X1": False}
    if seen.deformable:
        stock["MODEL.RESNETS.DEFORM_MODULATED"] = seen.deformable.modulated
    return stock


_CONTEXT = (("fc1", 0), ("norm", 1), ("fc2", 3))
_KINDS = (("conv", "conv"), ("bn", "bn"), ("bn", "gn"))  # our name and mmdetection's, which depends on the kind of norm
_MMDET: Names = (
    *((f"backbone.{ours}1", f"backbone.{theirs}1") for ours, theirs in _KINDS),
    *((f"backbone.layer{{}}.{{}}.{ours}{{}}", f"backbone.layer{{}}.{{}}.{theirs}{{}}") for ours, theirs in _KINDS),
    ("backbone.layer{}.{}.downsample.{}", "backbone.layer{}.{}.downsample.{}"),
    ("backbone.layer{}.{}.conv2.offset", "backbone.layer{}.{}.conv2.conv_offset"),
    *(
        (f"backbone.layer{{}}.{{}}.context.{ours}", f"backbone.layer{{}}.{{}}.context_block.{theirs}")
        for ours, theirs in (("attention", "conv_mask"), *((n, f"channel_add_conv.{k}") for n, k in _CONTEXT))
    ),
)
_MMDET_KNOWN = Known(
    read={
        *("norm_cfg.num_groups", "norm_cfg.eps", "norm_cfg.requires_grad", "norm_eval", "style", "frozen_stages"),
    },
    required={
        "norm_cfg.type": ("BN", "SyncBN", "MMSyncBN", "GN"),
        "conv_cfg": (None,),
        "dcn": (None,),
        "dcn.type": ("DCN", "DCNv2"),
        "dcn.fallback_on_stride": (False,),
        "plugins.cfg.type": ("ContextBlock",),
        "plugins.cfg.pooling_type": ("att",),
        "plugins.cfg.fusion_types": (["channel_add"],),
        "plugins.position": ("after_conv3",),
        "deep_stem": (False,),
        "avg_down": (False,),
        "in_channels": (3,),
        "num_stages": (4,),
        "out_indices": ([0, 1, 2, 3],),
        "strides": ([1, 2, 2, 2],),
        "dilations": ([1, 1, 1, 1],),
    },
    inert=r"(depth|groups|base_width|base_channels|stem_channels|zero_init_residual|norm_cfg\.momentum)$"
    r"|stage_with_dcn$|dcn\.(deform_groups|deformable_groups)$|plugins\.(stages|cfg\.ratio)$",  # shapes tell
)


def _from_mmdet(seen: ResNetConfig, get: Settings) -> ResNetConfig:
    dcn = get("model.backbone.dcn.type")
    return replace(
        seen,
        stride_in_1x1=get("model.backbone.style", "pytorch") == "caffe",
        norm=mmdet_backbone_norm(seen.norm, get),
        deformable=_said_of(seen.deformable, modulated=dcn == "DCNv2") if dcn else seen.deformable,
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
            sign=r"backbone\.bottom_up\.res2\.",
            names=_DETECTRON2,
            complete=_from_detectron2,
            stock=_stock,
            types=("ResNet",),
            known=_LAZY_KNOWN,
        ),
        "mmdet": Peer(
            sign=r"backbone\.layer1\.",
            names=_MMDET,
            layout_in={r".*\.context\.norm\.(weight|bias)": lambda values, _: values.flatten()},  # from (C, 1, 1)
            complete=_from_mmdet,
            types=("ResNet", "ResNeXt"),
            known=_MMDET_KNOWN,
        ),
        "torchvision": Peer(sign=r"backbone\.body\.layer1\.", names=_TORCHVISION),
    },
)
