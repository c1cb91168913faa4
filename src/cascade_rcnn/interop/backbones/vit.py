"""Convert detectron2's ViTDet: the plain vision transformer and its simple feature pyramid, one module there."""

from math import isqrt
from typing import Any

import torch
from torch import Tensor

from cascade_rcnn.config import ModelConfig, ViTConfig, replace
from cascade_rcnn.interop.backbones.family import Family, Peer
from cascade_rcnn.interop.known import Known
from cascade_rcnn.interop.renaming import Names, State, number_of

_PATCH = 16
_DROP_PATH = {24: 0.4, 32: 0.5}  # by the number of blocks, as published


def _describe(state: State) -> ViTConfig:
    depth = number_of(state, "backbone.blocks.{}.attn.qkv.weight")
    tables = [state[f"backbone.blocks.{k}.attn.rel_pos_h"] for k in range(depth)]  # (2 * side in patches - 1, d) each
    sides = [(len(table) + 1) // 2 for table in tables]
    width = len(state["backbone.patch_embed.proj.weight"])
    return ViTConfig(
        width=width,
        depth=depth,
        heads=width // tables[0].shape[1],
        window=min(sides),
        global_blocks=tuple(k for k, side in enumerate(sides) if side == max(sides)),
        grid=max(sides),
        pretrained_grid=isqrt(state["backbone.pos_embed"].shape[1]),
        drop_path=_DROP_PATH.get(depth, 0.1),
    )


_MAPS = ("2.4", "3.1", "4.0", "5.1")  # places of the 1x1 convolution of each level; the 3x3 follows
_NAMES: Names = (
    ("backbone", "backbone.net"),
    ("backbone.patch_embed.proj", "backbone.net.patch_embed.proj"),
    ("backbone.blocks.{}.norm{}", "backbone.net.blocks.{}.norm{}"),
    *((f"backbone.blocks.{{}}.attn{part}", f"backbone.net.blocks.{{}}.attn{part}") for part in ("", ".qkv", ".proj")),
    ("backbone.blocks.{}.mlp.fc{}", "backbone.net.blocks.{}.mlp.fc{}"),
    ("pyramid.scale.0.{}", "backbone.simfp_2.{}"),
    ("pyramid.scale.1.0", "backbone.simfp_3.0"),
)


def _of_pyramid() -> Names:
    rows = []
    for k, place in enumerate(_MAPS):
        level, number = place.split(".")
        for part, own in (("lateral", number), ("output", str(int(number) + 1))):
            rows.append((f"pyramid.{part}.{k}", f"backbone.simfp_{level}.{own}"))
            rows.append((f"pyramid.{part}_norm.{k}", f"backbone.simfp_{level}.{own}.norm"))
    return rows


def _without_class(table: Tensor, config: ModelConfig) -> Tensor:
    """Drop the position embedding of the class token, which detectors do not have."""
    assert isinstance(config.backbone, ViTConfig)
    return table[:, -(config.backbone.pretrained_grid**2) :]


def _with_class(table: Tensor, _: ModelConfig) -> Tensor:
    return torch.cat([torch.zeros_like(table[:, :1]), table], dim=1)


def stock(side: int) -> dict[str, Any]:
    """Return the settings common to ViTDet's configs, for images padded to squares of this side."""
    return {
        "INPUT.FORMAT": "RGB",
        "INPUT.MIN_SIZE_TEST": side,
        "INPUT.MIN_SIZE_TRAIN": [side],
        "INPUT.MAX_SIZE_TEST": side,
        "INPUT.SQUARE_PAD": side,
        "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
        "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
        "MODEL.FPN.NORM": "LN",
        "MODEL.ROI_BOX_HEAD.NORM": "LN",
        "MODEL.ROI_MASK_HEAD.NORM": "LN",
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1000,
    }


_BODY = "model.backbone.net"  # in a LazyConfig
_KNOWN = Known(
    read={"drop_path_rate"},
    required={
        "patch_size": (_PATCH,),
        "in_chans": (3,),
        "mlp_ratio": (4, 4.0),
        "qkv_bias": (True,),
        "norm_layer._target_": ("partial",),
        "norm_layer._args_": (["torch.nn.LayerNorm"], ["torch.nn.modules.normalization.LayerNorm"]),
        "norm_layer.eps": (1e-6,),
        "use_abs_pos": (True,),
        "use_rel_pos": (True,),
        "residual_block_indexes": ([],),
        "pretrain_use_cls_token": (True,),
        "out_feature": ("last_feat",),
    },
    # inferred from the position embeddings
    inert=r"(img_size|embed_dim|depth|num_heads|window_size|window_block_indexes|pretrain_img_size)$"
    r"|(use_act_checkpoint|rel_pos_zero_init)$",
)

# The simple pyramid's rows come first, since its modules have the names of the FPN's here, but not in detectron2.
FAMILY = Family(
    config=ViTConfig,
    describe=_describe,
    peers={
        "detectron2": Peer(
            sign=r"backbone\.net\.",
            names=(*_of_pyramid(), *_NAMES),
            layout_in={r"backbone\.pos_embed": _without_class},
            layout_out={r"backbone\.pos_embed": _with_class},
            complete=lambda seen, said: replace(seen, drop_path=said.get(f"{_BODY}.drop_path_rate", seen.drop_path)),
            types=("ViT",),
            known=_KNOWN,
            stock=lambda seen: stock(seen.grid * _PATCH),
        )
    },
)
