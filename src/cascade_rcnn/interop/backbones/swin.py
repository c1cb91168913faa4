"""Convert Swin transformers: mmdetection's, the authors' (from their fork of it) and detectron2's."""

from typing import Any

from torch import Tensor

from cascade_rcnn.config import ModelConfig, SwinConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.backbones import vit
from cascade_rcnn.interop.backbones.family import Family, Peer
from cascade_rcnn.interop.known import Known
from cascade_rcnn.interop.python_config import Settings
from cascade_rcnn.interop.renaming import Names, State, number_of


def _describe(state: State) -> SwinConfig:
    depths = tuple(number_of(state, f"backbone.features.{2 * k + 1}.{{}}.norm1.weight") for k in range(4))
    if 0 in depths:
        raise UserError(
            f"the backbone has {depths} blocks in its stages; only Swin transformers of four stages are supported"
        )
    table = state["backbone.features.1.0.attn.relative_position_bias_table"]
    return SwinConfig(
        width=len(state["backbone.features.0.0.weight"]),
        depths=depths,  # type: ignore[arg-type]
        heads=table.shape[1],
        window=(round(len(table) ** 0.5) + 1) // 2,
    )


def _names(prefix: str, stages: str, attention: str, first: str, second: str, projection: str) -> Names:
    """Make the rows of names, given those of the stages, a block's attention and two layers, and the projection."""
    return (
        ("backbone.features.0.0", f"{prefix}.patch_embed.{projection}"),
        ("backbone.features.0.2", f"{prefix}.patch_embed.norm"),
        *(
            (f"backbone.features.{2 * k + 1}.{{}}.{ours}", f"{prefix}.{stages}.{k}.blocks.{{}}.{theirs}")
            for k in range(4)
            for ours, theirs in (
                *(("norm1", "norm1"), ("norm2", "norm2"), ("mlp.0", first), ("mlp.3", second)),
                *(("attn", attention), ("attn.qkv", f"{attention}.qkv"), ("attn.proj", f"{attention}.proj")),
            )
        ),
        *(
            (f"backbone.features.{2 * k + 2}.{name}", f"{prefix}.{stages}.{k}.downsample.{name}")
            for k in range(3)
            for name in ("norm", "reduction")
        ),
        ("backbone.output_norm.{}", f"{prefix}.norm{{}}"),
    )


def _from_unfold(values: Tensor, _: ModelConfig) -> Tensor:
    """Reorder the last dimension of merged patches from mmdetection's (channel, row, column) to our order."""
    return values.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)  # (column, row, channel)


def _to_unfold(values: Tensor, _: ModelConfig) -> Tensor:
    """Invert `_from_unfold`."""
    return values.unflatten(-1, (2, 2, -1)).transpose(-1, -3).flatten(-3)


_MERGED = r"backbone\.features\.[246]\.(norm\.(weight|bias)|reduction\.weight)"
_MMDET_KNOWN = Known(
    read={"drop_path_rate", "frozen_stages"},
    required={
        "in_channels": (3,),
        "in_chans": (3,),
        "patch_size": (4,),
        "strides": ([4, 2, 2, 2],),
        "mlp_ratio": (4,),
        "qkv_bias": (True,),
        "qk_scale": (None,),
        "drop_rate": (0,),
        "attn_drop_rate": (0,),
        "use_abs_pos_embed": (False,),
        "ape": (False,),
        "patch_norm": (True,),
        "out_indices": ([0, 1, 2, 3],),
        "act_cfg.type": ("GELU",),
        "norm_cfg.type": ("LN",),
        "norm_cfg.requires_grad": (True,),
    },
    inert=r"(embed_dims?|depths|num_heads|window_size|convert_weights|pretrain_img_size|use_checkpoint)\b",
)


def _from_mmdet(seen: SwinConfig, get: Settings) -> SwinConfig:
    return replace(
        seen,
        drop_path=float(get("model.backbone.drop_path_rate", 0.1)),
        frozen_stages=get("model.backbone.frozen_stages", -1) + 1,
    )


_DETECTRON2_KNOWN = Known(
    read={"drop_path_rate"},
    required={
        "in_chans": (3,),
        "patch_size": (4,),
        "mlp_ratio": (4, 4.0),
        "qkv_bias": (True,),
        "qk_scale": (None,),
        "drop_rate": (0, 0.0),
        "attn_drop_rate": (0, 0.0),
        "ape": (False,),
        "patch_norm": (True,),
        "out_indices": ([0, 1, 2, 3],),
        "frozen_stages": (-1,),
    },
    inert=r"(embed_dim|depths|num_heads|window_size|pretrain_img_size|use_checkpoint)$",
)


def _from_detectron2(seen: SwinConfig, settings: dict[str, Any]) -> SwinConfig:
    return replace(seen, drop_path=float(settings.get("model.backbone.bottom_up.drop_path_rate", 0.2)))


_AUTHORS = ("layers", "attn", "mlp.fc1", "mlp.fc2", "proj")

FAMILY = Family(
    config=SwinConfig,
    describe=_describe,
    peers={
        "detectron2": Peer(
            sign=r"backbone\.bottom_up\.layers\.0\.blocks\.",
            names=_names("backbone.bottom_up", *_AUTHORS),
            complete=_from_detectron2,
            types=("SwinTransformer",),
            known=_DETECTRON2_KNOWN,
            stock=lambda _: vit.stock(1024),  # only the ViTDet project has configs with this backbone
        ),
        "mmdet": Peer(
            sign=r"backbone\.stages\.0\.blocks\.0\.attn\.w_msa\.",
            names=_names("backbone", "stages", "attn.w_msa", "ffn.layers.0.0", "ffn.layers.1", "projection"),
            layout_in={_MERGED: _from_unfold},
            layout_out={_MERGED: _to_unfold},
            complete=_from_mmdet,
            types=("SwinTransformer",),
            known=_MMDET_KNOWN,
        ),
    },
)
AUTHORS = Family(  # of a fork of mmdetection 2, with different names and the same settings
    config=SwinConfig,
    describe=_describe,
    peers={
        "mmdet": Peer(
            sign=r"backbone\.layers\.0\.blocks\.0\.attn\.",
            names=_names("backbone", *_AUTHORS),
            complete=_from_mmdet,
        )
    },
)
