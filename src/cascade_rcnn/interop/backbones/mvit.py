"""detectron2's MViTv2, whose blocks are numbered through all stages."""

from typing import Any

from cascade_rcnn.config import MViTConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.backbones import vit
from cascade_rcnn.interop.backbones.family import Family, Peer
from cascade_rcnn.interop.known import Known
from cascade_rcnn.interop.renaming import Names, State, number_of

_DROP_PATH = {10: 0.2, 16: 0.2, 24: 0.4, 48: 0.5, 80: 0.6}  # by the number of blocks, as published
_BODY = "model.backbone.bottom_up"  # its place in a LazyConfig


def _describe(state: State) -> MViTConfig:
    number = number_of(state, "backbone.blocks.{}.attn.qkv.weight")
    width = len(state["backbone.patch_embed.proj.weight"])
    starts = [k for k in range(number) if f"backbone.blocks.{k}.proj.weight" in state]  # where channels double
    if len(starts) != 3:
        raise UserError(f"the MViTv2 has {len(starts) + 1} stages; one of 4 converts")
    first, second, third = starts
    table = state["backbone.blocks.0.attn.rel_pos_h"]  # (2 * tokens a side - 1, channels of a head)
    return MViTConfig(
        width=width,
        depths=(first, second - first, third - second, number - third),
        heads=width // table.shape[1],
        grid=(len(table) + 1) // 2,
        drop_path=_DROP_PATH.get(number, 0.0),
    )


_PARTS = ("norm{}", "attn", "attn.qkv", "attn.proj", "mlp.fc{}", "proj")
_PARTS = (*_PARTS, *(f"attn.{kind}_{part}" for kind in ("pool", "norm") for part in "qkv"))
_NAMES: Names = (
    ("backbone.patch_embed.proj", "backbone.bottom_up.patch_embed.proj"),
    *((f"backbone.blocks.{{}}.{part}", f"backbone.bottom_up.blocks.{{}}.{part}") for part in _PARTS),
    *((f"backbone.output_norm.{k}", f"backbone.bottom_up.scale{k + 2}_norm") for k in range(4)),
)
_KNOWN = Known(
    read={"drop_path_rate", "adaptive_kv_stride", "adaptive_window_size"},
    required={
        "patch_kernel": ([7, 7],),
        "patch_stride": ([4, 4],),
        "patch_padding": ([3, 3],),
        "in_chans": (3,),
        "qkv_pool_kernel": ([3, 3],),
        "residual_pooling": (True,),
        "mlp_ratio": (4, 4.0),
        "qkv_bias": (True,),
        "norm_layer._target_": ("partial",),
        "norm_layer._args_": (["torch.nn.LayerNorm"], ["torch.nn.modules.normalization.LayerNorm"]),
        "norm_layer.eps": (1e-6,),
        "use_abs_pos": (False,),
        "use_rel_pos": (True,),
        "out_features": (["scale2", "scale3", "scale4", "scale5"],),
    },
    inert=r"(img_size|embed_dim|depth|num_heads|last_block_indexes)$"  # shapes tell
    r"|(pretrain_img_size|pretrain_use_cls_token|use_act_checkpoint|rel_pos_zero_init)$",
)


def _from_detectron2(seen: MViTConfig, settings: dict[str, Any]) -> MViTConfig:
    return replace(
        seen,
        window=settings.get(f"{_BODY}.adaptive_window_size", seen.window),
        kv_stride=settings.get(f"{_BODY}.adaptive_kv_stride", seen.kv_stride),
        drop_path=float(settings.get(f"{_BODY}.drop_path_rate", seen.drop_path)),
    )


FAMILY = Family(
    config=MViTConfig,
    describe=_describe,
    peers={
        "detectron2": Peer(
            sign=r"backbone\.bottom_up\.blocks\.0\.attn\.",
            names=_NAMES,
            complete=_from_detectron2,
            types=("MViT",),
            known=_KNOWN,
            stock=lambda _: vit.stock(1024),  # the published ones are the ViTDet project's
        )
    },
)
