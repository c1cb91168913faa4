"""ResNet backbones: images in, the maps C2..C5 (strides 4, 8, 16, 32) out. Parameter names are torchvision's."""

from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import ResNet as ResNetConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.tensor_files import read_state

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_RESIDUAL_GAIN = 0.25  # initial scale of each residual branch: deep networks without statistics stay finite


class FixedBatchNorm(nn.Module):
    """Batch normalisation with the statistics of pretraining; scale and shift are trained or fixed too."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, trained: bool, folded: bool, eps: float) -> None:
        super().__init__()
        self.folded, self.eps = folded, eps
        for name, value in (("weight", torch.ones(channels)), ("bias", torch.zeros(channels))):
            if trained:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def affine(self) -> tuple[Tensor, Tensor]:
        """The scale (C,) and shift (C,) that it amounts to."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


def _conv_norm(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """Convolution and normalisation; folding a fixed one into the weights saves a pass over the map."""
    if isinstance(norm, FixedBatchNorm) and norm.folded and isinstance(conv, nn.Conv2d):
        scale, shift = norm.affine()
        weight = conv.weight * scale[:, None, None, None]
        return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)  # type: ignore[arg-type]
    return norm(conv(x))


def _norm(config: ResNetConfig, channels: int) -> nn.Module:
    if config.norm == "batch":
        return nn.BatchNorm2d(channels, eps=config.norm_eps)
    return FixedBatchNorm(channels, trained=config.norm == "affine", folded=config.fold_norm, eps=config.norm_eps)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class _Block(nn.Module):
    """A residual block: two 3x3 convolutions (depth 18, 34) or a 1x1-3x3-1x1 bottleneck."""

    def __init__(self, config: ResNetConfig, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        if config.depth < 50:
            outputs = planes
            convs = [_conv(inputs, planes, 3, stride), _conv(planes, planes, 3)]
        else:
            outputs, width = planes * 4, planes * config.width_per_group // 64 * config.groups
            first, second = (stride, 1) if config.stride_in_1x1 else (1, stride)
            middle = _conv(width, width, 3, second, config.groups)
            convs = [_conv(inputs, width, 1, first), middle, _conv(width, outputs, 1)]
        norms = [_norm(config, conv.out_channels) for conv in convs]
        nn.init.constant_(norms[-1].weight, _RESIDUAL_GAIN)  # type: ignore[arg-type]
        for k, (conv, norm) in enumerate(zip(convs, norms, strict=True), start=1):
            self.add_module(f"conv{k}", conv)
            self.add_module(f"bn{k}", norm)
        self.names = [(f"conv{k}", f"bn{k}") for k in range(1, len(convs) + 1)]
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(_conv(inputs, outputs, 1, stride), _norm(config, outputs))
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else _conv_norm(self.downsample[0], self.downsample[1], x)
        for conv, norm in self.names[:-1]:
            x = F.relu(_conv_norm(getattr(self, conv), getattr(self, norm), x))
        conv, norm = self.names[-1]
        return F.relu(_conv_norm(getattr(self, conv), getattr(self, norm), x) + shortcut)


class ResNet(nn.Module):
    """He et al. 2016 without the classifier; `channels` are those of C2..C5."""

    strides = (4, 8, 16, 32)

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(3, config.stem, 7, 2, 3, bias=False)
        self.bn1 = _norm(config, config.stem)
        inputs, channels = config.stem, []
        for k, blocks in enumerate(_BLOCKS[config.depth], start=1):
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if k > 1 and block == 0 else 1
                made = _Block(config, inputs, config.planes * 2 ** (k - 1), stride)
                layer.append(made)
                inputs = made.outputs
            self.add_module(f"layer{k}", layer)
            channels.append(inputs)
        self.channels = tuple(channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self._freeze()

    def _freeze(self) -> None:
        parts = [nn.ModuleList([self.conv1, self.bn1]), *(self.get_submodule(f"layer{k}") for k in (1, 2, 3, 4))]
        for part in parts[: self.config.frozen_stages]:
            part.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> [C2, C3, C4, C5]."""
        x = F.max_pool2d(F.relu(_conv_norm(self.conv1, self.bn1, x)), 3, 2, 1)
        maps = []
        for k in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{k}")(x)
            maps.append(x)
        return maps


def load_pretrained(backbone: ResNet, source: str | Path) -> None:
    """Fill a backbone from "imagenet" (torchvision's IMAGENET1K_V1) or a local .safetensors or .pth file.

    V1 on purpose: the V2 weights cost several AP in short detection schedules. A file holds torchvision's names; its
    classifier (`fc.*`) is ignored. Raises UserError when the weights cannot be had or do not fit.
    """
    state = _imagenet(backbone.config) if str(source) == "imagenet" else read_state(Path(source))
    state = {
        k: v.float() for k, v in state.items() if not k.startswith("fc.") and not k.endswith("num_batches_tracked")
    }
    own = {k: v for k, v in backbone.state_dict().items() if not k.endswith("num_batches_tracked")}
    wrong = [f"{k} is missing" for k in own if k not in state] + [f"{k} is unknown" for k in state if k not in own]
    both = own.keys() & state.keys()
    wrong += [
        f"{k}: {tuple(state[k].shape)} in the file, {tuple(own[k].shape)} here"
        for k in both
        if own[k].shape != state[k].shape
    ]
    if wrong:
        count = f" (and {len(wrong) - 1} more differences)" if len(wrong) > 1 else ""
        raise UserError(
            f"{source}: these are not weights of a ResNet-{backbone.config.depth}: {wrong[0]}{count}; "
            "give the file of the backbone that the model's name says"
        )
    backbone.load_state_dict(state, strict=False)


def _imagenet(config: ResNetConfig) -> Mapping[str, Tensor]:
    import torchvision

    name = f"resnet{config.depth}"
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
