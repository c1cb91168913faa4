"""Convert ConvNeXts: mmpretrain's, used by mmdetection, and the authors' (based on mmdetection 2)."""

from cascade_rcnn.config import ConvNeXtConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.backbones.family import Family, Peer
from cascade_rcnn.interop.known import Known
from cascade_rcnn.interop.python_config import Settings
from cascade_rcnn.interop.renaming import Layout, Names, State, number_of


def _describe(state: State) -> ConvNeXtConfig:
    depths = tuple(number_of(state, f"backbone.features.{2 * k + 1}.{{}}.layer_scale") for k in range(4))
    if 0 in depths:
        raise UserError(f"the backbone has {depths} blocks in its stages; only ConvNeXts of four stages are supported")
    return ConvNeXtConfig(width=len(state["backbone.features.0.0.weight"]), depths=depths)  # type: ignore[arg-type]


def _names(depthwise: str, first: str, second: str) -> Names:
    """Make the rows of names, given those of a block's depthwise convolution and two pointwise layers."""
    parts = (("block.0", depthwise), ("block.2", "norm"), ("block.3", first), ("block.5", second))
    return (
        *((f"backbone.features.{2 * k}.{{}}", f"backbone.downsample_layers.{k}.{{}}") for k in range(4)),
        *(
            (f"backbone.features.{2 * k + 1}.{{}}.{ours}", f"backbone.stages.{k}.{{}}.{theirs}")
            for k in range(4)
            for ours, theirs in (*parts, ("layer_scale", "gamma"))
        ),
        ("backbone.output_norm.{}", "backbone.norm{}"),
    )


_SCALE = r"backbone\.features\.\d\.\d+\.layer_scale"
_IN: Layout = {_SCALE: lambda values, _: values[:, None, None]}
_OUT: Layout = {_SCALE: lambda values, _: values.flatten()}
_KNOWN = Known(
    read={"drop_path_rate"},
    required={
        "in_channels": (3,),
        "in_chans": (3,),
        "stem_patch_size": (4,),
        "act_cfg.type": ("GELU",),
        "norm_cfg.type": ("LN2d",),
        "norm_cfg.eps": (1e-6,),
        "linear_pw_conv": (True,),
        "use_grn": (False,),
        "out_indices": ([0, 1, 2, 3],),
        "gap_before_final_norm": (False,),
        "frozen_stages": (0,),
    },
    inert=r"(arch|depths|dims|layer_scale_init_value)\b",
)


def _from_mmdet(seen: ConvNeXtConfig, get: Settings) -> ConvNeXtConfig:
    return replace(seen, drop_path=float(get("model.backbone.drop_path_rate", 0.0)))


FAMILY = Family(
    config=ConvNeXtConfig,
    describe=_describe,
    peers={
        "mmdet": Peer(
            sign=r"backbone\.stages\.0\.0\.depthwise_conv\.",
            names=_names("depthwise_conv", "pointwise_conv1", "pointwise_conv2"),
            layout_in=_IN,
            layout_out=_OUT,
            complete=_from_mmdet,
            types=("mmpretrain.ConvNeXt", "mmcls.ConvNeXt", "ConvNeXt"),
            known=_KNOWN,
        ),
    },
)
AUTHORS = Family(  # with the same settings
    config=ConvNeXtConfig,
    describe=_describe,
    peers={
        "mmdet": Peer(
            sign=r"backbone\.stages\.0\.0\.dwconv\.",
            names=_names("dwconv", "pwconv1", "pwconv2"),
            layout_in=_IN,
            layout_out=_OUT,
            complete=_from_mmdet,
        )
    },
)
