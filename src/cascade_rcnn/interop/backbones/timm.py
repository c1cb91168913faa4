"""Convert mmdetection's ResNeSt to timm's."""

from cascade_rcnn.config import TimmConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.backbones.family import Family, Peer
from cascade_rcnn.interop.known import Known
from cascade_rcnn.interop.python_config import Settings
from cascade_rcnn.interop.renaming import Names, State, number_of

_NETWORKS: dict[tuple[int, tuple[int, ...]], str] = {  # by channels of the stem and blocks of each layer
    (64, (3, 4, 6, 3)): "resnest50d",
    (128, (3, 4, 23, 3)): "resnest101e",
}


def _describe(state: State) -> TimmConfig:
    blocks = tuple(number_of(state, f"backbone.network.layer{k}.{{}}.conv1.weight") for k in (1, 2, 3, 4))
    model = _NETWORKS.get((len(state["backbone.network.bn1.weight"]), blocks))
    if model is None:
        raise UserError(f"the ResNeSt has {blocks} blocks in its layers; only ResNeSt-50 and 101 can be converted")
    return TimmConfig(model=model, norm="affine")


def _splits(state: State) -> bool:
    return any(name.startswith("backbone.layer1.0.conv2.fc") for name in state)


_BLOCK = "backbone.network.layer{}.{}", "backbone.layer{}.{}"
_PARTS = ("conv1", "bn1", "conv2.conv", "conv2.bn{}", "conv2.fc{}", "conv3", "bn3", "downsample.{}")
_NAMES: Names = (
    ("backbone.network.bn1", "backbone.stem.7"),
    ("backbone.network.conv1.{}", "backbone.stem.{}"),
    *((f"{_BLOCK[0]}.{part}", f"{_BLOCK[1]}.{part}") for part in _PARTS),
)
_KNOWN = Known(
    read=("norm_cfg.requires_grad", "norm_eval", "frozen_stages"),
    required={
        "norm_cfg.type": ("BN", "SyncBN", "MMSyncBN"),
        "norm_cfg.eps": (1e-5,),
        "style": ("pytorch",),
        "radix": (2,),
        "groups": (1,),
        "base_width": (4,),  # has no effect with one group
        "reduction_factor": (4,),
        "avg_down_stride": (True,),
        "dcn": (None,),
        "plugins": (None,),
        "in_channels": (3,),
        "num_stages": (4,),
        "strides": ([1, 2, 2, 2],),
        "dilations": ([1, 1, 1, 1],),
        "out_indices": ([0, 1, 2, 3],),
    },
    inert=r"(depth|stem_channels|base_channels|zero_init_residual|norm_cfg\.momentum)$",  # inferred from shapes, mostly
)


def _from_mmdet(seen: TimmConfig, get: Settings) -> TimmConfig:
    fixed = "affine" if get("model.backbone.norm_cfg.requires_grad", True) else "frozen"
    blocks = next(blocks for (_, blocks), model in _NETWORKS.items() if model == seen.model)
    stages = get("model.backbone.frozen_stages", 1)  # -1: none, 0: the stem, 1: layer1 as well, ...
    return replace(
        seen,
        norm=fixed if get("model.backbone.norm_eval", True) else "batch",
        frozen_stages=0 if stages < 0 else 1 + sum(blocks[:stages]),  # timm's layers are the stem and each block
    )


FAMILY = Family(
    config=TimmConfig,
    describe=_describe,
    peers={
        "mmdet": Peer(
            sign=r"backbone\.layer1\.",  # the same as a ResNet's
            shown=_splits,
            names=_NAMES,
            complete=_from_mmdet,
            types=("ResNeSt",),
            known=_KNOWN,
        ),
    },
)
