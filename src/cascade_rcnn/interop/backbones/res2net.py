"""mmdetection's Res2Net, whose tensors have a ResNet's names."""

from cascade_rcnn.config import NormConfig, Res2NetConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.backbones.family import Family, Peer
from cascade_rcnn.interop.known import Known
from cascade_rcnn.interop.norms import seen_norm, with_mmdet_norm
from cascade_rcnn.interop.renaming import Names, State, number_of

_DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}  # by the blocks of each layer


def _describe(state: State) -> Res2NetConfig:
    blocks = tuple(number_of(state, f"backbone.layer{k}.{{}}.conv1.weight") for k in (1, 2, 3, 4))
    if blocks not in _DEPTHS:
        raise UserError(f"the Res2Net has {blocks} blocks in its four layers; Res2Net-50, 101 and 152 convert")
    planes = len(state["backbone.layer4.0.conv3.weight"]) // 4
    width = len(state["backbone.layer4.0.convs.0.weight"])
    return Res2NetConfig(
        depth=_DEPTHS[blocks],  # type: ignore[arg-type]
        stem=len(state["backbone.stem.6.weight"]),
        planes=planes // 8,
        scales=number_of(state, "backbone.layer1.0.convs.{}.weight") + 1,
        base_width=-(-width * 64 // planes),  # the least that rounds down to this width
        norm=seen_norm(state, "backbone.stem.1") or NormConfig(),
    )


def _splits(state: State) -> bool:
    return any(name.startswith("backbone.layer1.0.convs.") for name in state)


_BLOCK = "backbone.layer{}.{}"
_PLACES = (("conv{}", "conv{}"), ("bn{}", "bn{}"), ("convs.{}", "convs.{}"), ("convs_norm.{}", "bns.{}"))
_PLACES = (*_PLACES, ("downsample.0", "downsample.1"), ("downsample.1", "downsample.2"))
_NAMES: Names = (
    ("backbone.stem.{}", "backbone.stem.{}"),
    *((f"{_BLOCK}.{ours}", f"{_BLOCK}.{theirs}") for ours, theirs in _PLACES),
)
_KNOWN = Known(
    read=("norm_cfg.eps", "norm_cfg.requires_grad", "norm_eval", "frozen_stages"),
    required={
        "norm_cfg.type": ("BN", "SyncBN", "MMSyncBN"),
        "style": ("pytorch",),
        "deep_stem": (True,),
        "avg_down": (True,),
        "dcn": (None,),
        "plugins": (None,),
        "in_channels": (3,),
        "num_stages": (4,),
        "strides": ([1, 2, 2, 2],),
        "dilations": ([1, 1, 1, 1],),
        "out_indices": ([0, 1, 2, 3],),
    },
    # shapes tell
    inert=r"(depth|scales|base_width|stem_channels|base_channels|zero_init_residual|norm_cfg\.momentum)$",
)


FAMILY = Family(
    config=Res2NetConfig,
    describe=_describe,
    peers={
        "mmdet": Peer(
            sign=r"backbone\.layer1\.",  # as of a ResNet
            shown=_splits,
            names=_NAMES,
            complete=with_mmdet_norm,
            types=("Res2Net",),
            known=_KNOWN,
        ),
    },
)
