"""Convert mmdetection's RegNetX, whose tensors are named like a ResNet's."""

from cascade_rcnn.config import NormConfig, RegNetConfig
from cascade_rcnn.interop.backbones.family import Family, Peer
from cascade_rcnn.interop.known import Known
from cascade_rcnn.interop.norms import seen_norm, with_mmdet_norm
from cascade_rcnn.interop.renaming import Names, State, number_of


def _describe(state: State) -> RegNetConfig:
    blocks = [f"backbone.trunk_output.block{k}.block{k}-{{}}.f.b.0.weight" for k in (1, 2, 3, 4)]
    last = state[blocks[-1].format(0)]
    return RegNetConfig(
        stem=len(state["backbone.stem.0.weight"]),
        widths=tuple(len(state[block.format(0)]) for block in blocks),  # type: ignore[arg-type]
        depths=tuple(number_of(state, block) for block in blocks),  # type: ignore[arg-type]
        group_width=last.shape[1],
        norm=seen_norm(state, "backbone.stem.1") or NormConfig(),
    )


def _has_a_small_stem(state: State) -> bool:
    stem = state.get("backbone.conv1.weight")
    return stem is not None and stem.shape[-1:] == (3,)


_PLACES = (("conv1", "f.a.0"), ("bn1", "f.a.1"), ("conv2", "f.b.0"), ("bn2", "f.b.1"), ("conv3", "f.c.0"))
_PLACES = (*_PLACES, ("bn3", "f.c.1"), ("downsample.0", "proj.0"), ("downsample.1", "proj.1"))
_MMDET: Names = (
    *(("backbone.stem.0", "backbone.conv1"), ("backbone.stem.1", "backbone.bn1")),
    *(
        (f"backbone.trunk_output.block{k}.block{k}-{{}}.{ours}", f"backbone.layer{k}.{{}}.{theirs}")
        for k in (1, 2, 3, 4)
        for theirs, ours in _PLACES
    ),
)
_MMDET_KNOWN = Known(
    read=("norm_cfg.eps", "norm_cfg.requires_grad", "norm_eval", "frozen_stages"),
    required={
        "norm_cfg.type": ("BN", "SyncBN", "MMSyncBN"),
        "style": ("pytorch",),
        "dcn": (None,),
        "plugins": (None,),
        "deep_stem": (False,),
        "avg_down": (False,),
        "in_channels": (3,),
        "strides": ([2, 2, 2, 2],),
        "dilations": ([1, 1, 1, 1],),
        "out_indices": ([0, 1, 2, 3],),
    },
    inert=r"(arch|stem_channels|base_channels|zero_init_residual|norm_cfg\.momentum)\b",  # inferred from shapes, mostly
)


FAMILY = Family(
    config=RegNetConfig,
    describe=_describe,
    peers={
        "mmdet": Peer(
            sign=r"backbone\.layer1\.",  # the same as a ResNet's, whose stem has a 7x7 kernel
            shown=_has_a_small_stem,
            names=_MMDET,
            complete=with_mmdet_norm,
            types=("RegNet",),
            known=_MMDET_KNOWN,
        ),
    },
)
