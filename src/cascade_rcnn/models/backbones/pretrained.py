"""Weights that backbones are pretrained with: torchvision's, or a file of its names."""

from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

from torch import Tensor, nn

from cascade_rcnn.config import BackboneConfig, ConvNeXtConfig, ResNetConfig, SwinConfig, VGGConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.backbones.authors_names import as_torchvision_s
from cascade_rcnn.state_dicts import mismatch
from cascade_rcnn.tensor_files import read_state

_CLASSIFIERS = ("fc.", "classifier.", "head.", "norm.")
_COMPUTED = ("num_batches_tracked", "relative_position_index", "attn_mask")
_OF_DETECTORS = "output_norm."  # which classifiers do not have


def load_pretrained(backbone: nn.Module, config: BackboneConfig, source: str | Path) -> None:
    """Fill a backbone from "imagenet" (torchvision's IMAGENET1K_V1) or a local .safetensors or .pth file.

    V1 on purpose: the V2 weights cost several AP in short detection schedules. A file holds torchvision's names, or of
    Swin and ConvNeXt the authors' or timm's; its classifier is ignored. Raises UserError when the weights cannot be had
    or do not fit.
    """
    state = _imagenet(_torchvision_name(config)) if str(source) == "imagenet" else read_state(Path(source))
    state = {
        k: v.float()
        for k, v in as_torchvision_s(state).items()
        if not k.startswith(_CLASSIFIERS) and not k.endswith(_COMPUTED)
    }
    own = backbone.state_dict()
    optional = {k for k in own if k.endswith(_COMPUTED) or (k.startswith(_OF_DETECTORS) and k not in state)}
    own = {k: v for k, v in own.items() if k not in optional}
    if wrong := mismatch(state, own):
        raise UserError(
            f"{source}: these are not weights of a {_torchvision_name(config)}: {wrong}; give the file of the backbone "
            "that the model's name says"
        )
    backbone.load_state_dict(state, strict=False)


def _torchvision_name(config: BackboneConfig) -> str:
    match config:
        case VGGConfig():
            return "vgg16"
        case SwinConfig() | ConvNeXtConfig():
            return config.label
        case ResNetConfig(groups=1):
            return f"resnet{config.depth}"
        case ResNetConfig():
            return f"resnext{config.depth}_{config.groups}x{config.width_per_group}d"


def _imagenet(name: str) -> Mapping[str, Tensor]:
    import torchvision

    try:
        weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    except ValueError:
        raise UserError(
            f"torchvision has no ImageNet weights of {name}; pass a file of its authors' or timm's as "
            "weights_backbone=PATH (--weights-backbone PATH)"
        ) from None
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"the ImageNet weights of {name} could not be downloaded ({error}); fetch {weights.url} on a machine with "
            "network and pass the file as weights_backbone=PATH (--weights-backbone PATH)"
        ) from None
