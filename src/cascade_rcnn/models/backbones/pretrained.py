"""Load pretrained backbone weights: torchvision's, timm's, a masked autoencoder's, or a file with the same names."""

from collections.abc import Callable, Mapping
from math import isqrt
from pathlib import Path
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import (
    BackboneConfig,
    ConvNeXtConfig,
    MViTConfig,
    OwnBackboneConfig,
    RegNetConfig,
    Res2NetConfig,
    ResNetConfig,
    SwinConfig,
    TimmConfig,
    VGGConfig,
    ViTConfig,
)
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.backbones.authors_names import as_mvit_s, as_res2net_s, as_torchvision_s
from cascade_rcnn.models.backbones.timm import Timm, load_weights
from cascade_rcnn.models.state_dicts import mismatch
from cascade_rcnn.tensor_files import read

_CLASSIFIERS = ("fc.", "classifier.", "head.", "norm.", "cls_token")
_COMPUTED = ("num_batches_tracked", "relative_position_index", "attn_mask")
_ABSENT = ("output_norm.", ".offset.", ".context.")  # not in classifiers; initially these parts have no effect
_NAMES: dict[type, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {  # how the files' names become ours
    ConvNeXtConfig: as_torchvision_s,
    MViTConfig: as_mvit_s,
    Res2NetConfig: as_res2net_s,
    SwinConfig: as_torchvision_s,
}
_BEYOND_BLOCKS = ("cls_token", "mask_token", "norm.", "fc_norm.", "head.", "decoder_")  # not used by ViT detectors
_MAE = "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MAE/mae_pretrain_vit_{}.pth"
_MAE_SIZES = {(768, 12): "base", (1024, 24): "large", (1280, 32): "huge_p14to16"}  # by width and depth
_REGNETS = {(64, 128, 288, 672): "regnet_x_800mf", (96, 192, 432, 1008): "regnet_x_3_2gf"}  # by their widths


def load_pretrained(backbone: nn.Module, config: BackboneConfig, source: str | Path) -> None:
    """Load weights into a backbone, from "imagenet" or a .safetensors or .pth file.

    "imagenet" is torchvision's IMAGENET1K_V1, timm's own weights or, for ViT, a masked autoencoder's. V1 is chosen on
    purpose: the V2 weights cost several AP in short detection schedules. A file uses torchvision's names; those of timm
    and MAE for ViT; timm's for Res2Net; or those of timm and the authors for Swin, ConvNeXt and MViTv2. Its classifier
    is ignored. Raises UserError if the weights cannot be downloaded or do not fit.
    """
    if isinstance(config, TimmConfig):
        assert isinstance(backbone, Timm)
        load_weights(backbone, source)
        return
    if isinstance(config, OwnBackboneConfig):
        raise UserError(f"weights_backbone={source}: the backbone is your own; load its weights before you pass it")
    if isinstance(config, ViTConfig):
        state = _mae(config) if str(source) == "imagenet" else read(Path(source)).state
        state = _of_plain_vit(state, backbone)
    else:
        state = _imagenet(_usual_name(config)) if str(source) == "imagenet" else read(Path(source)).state
        rename = _NAMES.get(type(config))
        state = state if rename is None else rename(state)
    state = {k: v.float() for k, v in state.items() if not k.startswith(_CLASSIFIERS) and not k.endswith(_COMPUTED)}
    own = {k: v for k, v in backbone.state_dict().items() if not k.endswith(_COMPUTED)}
    for part in _ABSENT:
        if not any(part in name for name in state):
            own = {k: v for k, v in own.items() if part not in k}
    if wrong := mismatch(state, own):
        raise UserError(
            f"{source}: these are not weights of a {_usual_name(config)}: {wrong}; give weights of the backbone in the "
            "model's name"
        )
    backbone.load_state_dict(state, strict=False)


def _of_plain_vit(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Convert the weights of an image classifier or autoencoder to the detector's backbone.

    The position embedding drops its class token and is resized to the backbone's grid. Relative position embeddings,
    which these networks lack, stay zero.
    """
    own = backbone.state_dict()
    found = {name: value for name, value in state.items() if not name.startswith(_BEYOND_BLOCKS)}
    positions = found.get("pos_embed")
    if positions is not None and positions.ndim == 3 and positions.shape[2] == own["pos_embed"].shape[2]:
        side, wanted = isqrt(positions.shape[1]), isqrt(own["pos_embed"].shape[1])
        table = positions[:, -(side**2) :].float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
        if side != wanted:
            table = F.interpolate(table, size=(wanted, wanted), mode="bicubic", align_corners=False)
        found["pos_embed"] = table.flatten(2).transpose(1, 2).contiguous()
    return {name: value for name, value in own.items() if ".rel_pos_" in name} | found


def _usual_name(config: BackboneConfig) -> str:
    match config:
        case VGGConfig():
            return "vgg16"
        case RegNetConfig():
            return _REGNETS.get(config.widths, f"regnet_x of {config.widths} channels")
        case ResNetConfig(groups=1):
            return f"resnet{config.depth}"
        case ResNetConfig():
            return f"resnext{config.depth}_{config.groups}x{config.width_per_group}d"
        case _:
            return config.label


def _imagenet(name: str) -> Mapping[str, Tensor]:
    import torchvision

    try:
        weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    except ValueError:
        raise UserError(
            f"torchvision has no ImageNet weights of {name}; pass a file from its authors or timm as "
            "weights_backbone=PATH (--weights-backbone PATH)"
        ) from None
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise _missing(name, weights.url, error) from None


def _mae(config: ViTConfig) -> Mapping[str, Tensor]:
    """Download the weights that ViTDet starts from, a masked autoencoder's (He et al. 2022)."""
    size = _MAE_SIZES.get((config.width, config.depth))
    if size is None:
        raise UserError(f"{config.label}: no published weights have this size; pass a file as weights_backbone=PATH")
    url = _MAE.format(size)
    try:
        state = torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        raise _missing(config.label, url, error) from None
    return state.get("model", state)


def _missing(name: str, url: str, error: Exception) -> UserError:
    return UserError(
        f"the ImageNet weights of {name} could not be downloaded ({error}); download {url} on a machine with network "
        "access and pass the file as weights_backbone=PATH (--weights-backbone PATH)"
    )
