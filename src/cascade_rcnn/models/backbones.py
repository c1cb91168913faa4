"""Backbones by their config, and their pretrained weights."""

from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

from torch import Tensor

from cascade_rcnn.config import Backbone
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.resnet import ResNet
from cascade_rcnn.models.vgg import VGG
from cascade_rcnn.state_dicts import mismatch
from cascade_rcnn.tensor_files import read_state

_CLASSIFIERS = ("fc.", "classifier.")  # of torchvision's ResNet and VGG


def build_backbone(config: Backbone) -> ResNet | VGG:
    """The backbone of a config, with random weights. It has `channels` and `strides`, one a map that it returns."""
    return VGG(config) if config.family == "vgg" else ResNet(config)


def load_pretrained(backbone: ResNet | VGG, source: str | Path) -> None:
    """Fill a backbone from "imagenet" (torchvision's IMAGENET1K_V1) or a local .safetensors or .pth file.

    V1 on purpose: the V2 weights cost several AP in short detection schedules. A file holds torchvision's names; its
    classifier is ignored. Raises UserError when the weights cannot be had or do not fit.
    """
    state = _imagenet(backbone.config) if str(source) == "imagenet" else read_state(Path(source))
    state = {
        k: v.float()
        for k, v in state.items()
        if not k.startswith(_CLASSIFIERS) and not k.endswith("num_batches_tracked")
    }
    own = {k: v for k, v in backbone.state_dict().items() if not k.endswith("num_batches_tracked")}
    if wrong := mismatch(state, own):
        raise UserError(
            f"{source}: these are not weights of a {type(backbone).__name__}-{backbone.config.depth}: "
            f"{wrong}; give the file of the backbone that the model's name says"
        )
    backbone.load_state_dict(state, strict=False)


def _imagenet(config: Backbone) -> Mapping[str, Tensor]:
    import torchvision

    name = f"{config.family}{config.depth}"
    if config.groups > 1:
        name = f"resnext{config.depth}_{config.groups}x{config.width_per_group}d"
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"the ImageNet weights of {name} could not be downloaded ({error}); fetch {weights.url} on a machine with "
            "network and pass the file as weights_backbone=PATH (--weights-backbone PATH)"
        ) from None
