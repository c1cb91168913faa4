"""Weights that backbones are pretrained with: torchvision's or timm's, or a file of their names."""

from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

from torch import Tensor, nn

from cascade_rcnn.config import BackboneConfig, OwnBackboneConfig, ResNetConfig, TimmConfig, VGGConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.backbones.timm import Timm, load_weights
from cascade_rcnn.state_dicts import mismatch
from cascade_rcnn.tensor_files import read_state

_CLASSIFIERS = ("fc.", "classifier.")  # of torchvision's ResNet and VGG


def load_pretrained(backbone: nn.Module, config: BackboneConfig, source: str | Path) -> None:
    """Fill a backbone from "imagenet" (torchvision's IMAGENET1K_V1; timm's) or a local .safetensors or .pth file.

    V1 on purpose: the V2 weights cost several AP in short detection schedules. A file holds torchvision's names; its
    classifier is ignored. Raises UserError when the weights cannot be had or do not fit.
    """
    if isinstance(config, TimmConfig):
        assert isinstance(backbone, Timm)
        load_weights(backbone, source)
        return
    if isinstance(config, OwnBackboneConfig):
        raise UserError(f"weights_backbone={source}: the backbone is your own; load its weights before it is given")
    state = _imagenet(_torchvision_name(config)) if str(source) == "imagenet" else read_state(Path(source))
    state = {
        k: v.float()
        for k, v in state.items()
        if not k.startswith(_CLASSIFIERS) and not k.endswith("num_batches_tracked")
    }
    own = {k: v for k, v in backbone.state_dict().items() if not k.endswith("num_batches_tracked")}
    if wrong := mismatch(state, own):
        raise UserError(
            f"{source}: these are not weights of a {_torchvision_name(config)}: {wrong}; give the file of the backbone "
            "that the model's name says"
        )
    backbone.load_state_dict(state, strict=False)


def _torchvision_name(config: ResNetConfig | VGGConfig) -> str:
    match config:
        case VGGConfig():
            return "vgg16"
        case ResNetConfig(groups=1):
            return f"resnet{config.depth}"
        case ResNetConfig():
            return f"resnext{config.depth}_{config.groups}x{config.width_per_group}d"


def _imagenet(name: str) -> Mapping[str, Tensor]:
    import torchvision

    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"the ImageNet weights of {name} could not be downloaded ({error}); fetch {weights.url} on a machine with "
            "network and pass the file as weights_backbone=PATH (--weights-backbone PATH)"
        ) from None
