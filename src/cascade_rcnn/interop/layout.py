"""What the three converters share: renaming tensors, laying them out anew, and what their shapes tell.

M classes · T stages · C channels of the pyramid · S bins a side
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from cascade_rcnn.config import (
    AnchorConfig,
    Category,
    ConvFCHeadConfig,
    FPNConfig,
    ModelConfig,
    NormConfig,
    ResNetConfig,
    RoIAlignConfig,
    RPNConfig,
    StageConfig,
)
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.build import build
from cascade_rcnn.state_dicts import mismatch

State: TypeAlias = dict[str, Tensor]
Names: TypeAlias = Sequence[tuple[str, str]]  # (our module, the peer's module); {} is a number, the same in both

_DEPTHS: dict[tuple[str, tuple[int, ...]], int] = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}
_FOREIGN = {  # what a tensor that has no place belongs to, by its name
    r"backbone\.(simfp_|net\.)": "ViTDet's plain vision transformer",
    r"backbone\..*\.attn\.|backbone\.(bottom_up\.)?patch_embed": "a Swin or another vision transformer",
    r"backbone\.downsample_layers|depthwise_conv|\.gamma$": "a ConvNeXt",
    r"conv_offset|conv2_offset": "a deformable convolution",
}


def rename(name: str, rows: Iterable[tuple[str, str]]) -> str | None:
    """The name in the second column of a tensor whose module stands in the first; None where it stands nowhere."""
    module, _, leaf = name.rpartition(".")
    for source, target in rows:
        match = re.fullmatch(re.escape(source).replace(r"\{\}", r"(\d+)"), module)
        if match:
            return f"{target.format(*match.groups())}.{leaf}"
    return None


def our_names(state: State, names: Names, ignored: str) -> State:
    """The peer's tensors under our names; those that match the pattern `ignored` are left out.

    Raises UserError naming a tensor that has no place here.
    """
    rows = [(theirs, ours) for ours, theirs in names]
    found: State = {}
    for name, tensor in state.items():
        if re.match(ignored, name):
            continue
        ours = rename(name, rows)
        if ours is None:
            kind = next((f" (of {kind})" for pattern, kind in _FOREIGN.items() if re.search(pattern, name)), "")
            raise UserError(
                f"the checkpoint holds '{name}' {tuple(tensor.shape)}{kind}, which has no place in a Faster or Cascade "
                "R-CNN on a feature pyramid; only ResNet and ResNeXt backbones and heads of convolutions and fully "
                "connected layers convert"
            )
        found[ours] = tensor
    if "rpn.conv.1.weight" not in found:  # the only one of several has no number here
        found = {name.replace("rpn.conv.0.", "rpn.conv."): tensor for name, tensor in found.items()}
    return found


def skeleton(state: State) -> ModelConfig:
    """All that the shapes of tensors under our names tell about a model; the rest has its default value."""
    try:
        return _skeleton(state)
    except KeyError as error:
        raise UserError(f"the checkpoint lacks what becomes {error}; it holds no complete detector") from None


def _skeleton(state: State) -> ModelConfig:
    backbone = _backbone(state)
    stages = _count(state, "roi_heads.heads.{}.classifier.weight")
    classes = len(state["roi_heads.heads.0.classifier.weight"]) - 1
    pyramid = FPNConfig(channels=len(state["pyramid.lateral.0.weight"]), norm=_norm(state, "pyramid.lateral_norm.0"))
    head, inputs = _box_head(state)
    channels = head.conv_channels if head.convs else pyramid.channels
    kind = f"resnext{backbone.depth}" if backbone.groups > 1 else f"resnet{backbone.depth}"
    return ModelConfig(
        name=f"{'cascade' if stages > 1 else 'faster'}_rcnn_{kind}_fpn",
        categories=tuple(Category(id=k, name=f"class {k}") for k in range(1, classes + 1)),
        stages=(StageConfig(),) * stages,
        backbone=backbone,
        pyramid=pyramid,
        rpn=RPNConfig(
            anchors=AnchorConfig(ratios=(1.0,) * len(state["rpn.objectness.weight"])),
            convs=max(1, _count(state, "rpn.conv.{}.weight")),
        ),
        roi_align=RoIAlignConfig(resolution=round((inputs / channels) ** 0.5)),
        box_head=head,
    )


def parts(skeleton: ModelConfig) -> tuple[ResNetConfig, FPNConfig, ConvFCHeadConfig]:
    """Its backbone, pyramid and box head, of the kinds that the converters know."""
    backbone, pyramid, head = skeleton.backbone, skeleton.pyramid, skeleton.box_head
    assert isinstance(backbone, ResNetConfig)
    assert isinstance(pyramid, FPNConfig)
    assert isinstance(head, ConvFCHeadConfig)
    return backbone, pyramid, head


def _box_head(state: State) -> tuple[ConvFCHeadConfig, int]:
    """The head of a stage, and how many numbers its first fully connected layer reads."""
    head = "roi_heads.heads.0."
    convs, fcs = (_count(state, f"{head}{kind}{{}}.weight", first=1) for kind in ("conv", "fc"))
    reader = state[f"{head}fc1.weight" if fcs else f"{head}classifier.weight"]
    config = ConvFCHeadConfig(
        convs=convs,
        conv_channels=len(state[f"{head}conv1.weight"]) if convs else 256,
        norm=_norm(state, f"{head}bn1"),
        fcs=fcs,
        width=len(reader) if fcs else 1024,
        class_agnostic=len(state[f"{head}regressor.weight"]) == 4,
    )
    return config, reader.shape[1]


def _norm(state: State, name: str) -> NormConfig | None:
    """Of the layer with this name: batch normalisation has statistics, group normalisation has none."""
    if f"{name}.weight" not in state:
        return None
    return NormConfig(kind="batch" if f"{name}.running_mean" in state else "group")


def _count(state: State, pattern: str, first: int = 0) -> int:
    """How many of the names pattern.format(first), pattern.format(first + 1), ... there are."""
    number = 0
    while pattern.format(first + number) in state:
        number += 1
    return number


def _backbone(state: State) -> ResNetConfig:
    blocks = tuple(_count(state, f"backbone.layer{k}.{{}}.conv1.weight") for k in (1, 2, 3, 4))
    bottleneck = "backbone.layer1.0.conv3.weight" in state
    depth = _DEPTHS.get(("bottleneck" if bottleneck else "basic", blocks))
    if depth is None:
        raise UserError(f"the backbone has {blocks} blocks in its four layers; ResNet-18, 34, 50, 101 and 152 convert")
    stem, norm = len(state["backbone.conv1.weight"]), _norm(state, "backbone.bn1") or NormConfig()
    if not bottleneck:
        planes = len(state["backbone.layer1.0.conv2.weight"])
        return ResNetConfig(depth=depth, stem=stem, planes=planes, norm=norm)  # type: ignore[arg-type]
    planes = len(state["backbone.layer1.0.conv3.weight"]) // 4
    width, per_group = state["backbone.layer1.0.conv2.weight"].shape[:2]
    return ResNetConfig(
        depth=depth,  # type: ignore[arg-type]
        stem=stem,
        planes=planes,
        norm=norm,
        groups=width // per_group,
        width_per_group=per_group * 64 // planes,
    )


def fc1_in(weight: Tensor, config: ModelConfig) -> Tensor:
    """The first layer's inputs from the peers' order (channel, bin row, bin column) to ours (row, column, channel)."""
    side = config.roi_align.resolution
    if weight.shape[1] % side**2:
        return weight  # it fits no model, which `check` says
    return weight.unflatten(1, (-1, side, side)).permute(0, 2, 3, 1).flatten(1)


def fc1_out(weight: Tensor, config: ModelConfig) -> Tensor:
    """Inverse of `fc1_in`."""
    side = config.roi_align.resolution
    return weight.unflatten(1, (side, side, -1)).permute(0, 3, 1, 2).flatten(1)


def background_first(classifier: Tensor) -> Tensor:
    """Rows (M + 1, ...) from the peers' order, background last, to ours."""
    return classifier.roll(1, dims=0)


def background_last(classifier: Tensor) -> Tensor:
    """Inverse of `background_first`."""
    return classifier.roll(-1, dims=0)


Change: TypeAlias = Callable[[Tensor, ModelConfig], Tensor]
LAYOUT_IN: dict[str, Change] = {
    r"roi_heads\.heads\.\d+\.fc1\.weight": fc1_in,
    r"roi_heads\.heads\.\d+\.classifier\.(weight|bias)": lambda rows, _: background_first(rows),
}
LAYOUT_OUT: dict[str, Change] = {
    r"roi_heads\.heads\.\d+\.fc1\.weight": fc1_out,
    r"roi_heads\.heads\.\d+\.classifier\.(weight|bias)": lambda rows, _: background_last(rows),
}


def relaid(state: State, config: ModelConfig, layout: dict[str, Change]) -> State:
    """The tensors (under our names) in the layout of the other side."""
    changed = {}
    for name, tensor in state.items():
        change = next((f for pattern, f in layout.items() if re.fullmatch(pattern, name)), None)
        changed[name] = change(tensor, config).contiguous() if change else tensor
    return changed


def check(state: State, config: ModelConfig) -> State:
    """`state` (our names and layout), float32, if it is exactly what a model of this config holds.

    Raises UserError with the first tensor that is missing, left over or of another shape.
    """
    with torch.device("meta"):
        own = {k: v for k, v in build(config).state_dict().items() if not k.endswith("num_batches_tracked")}
    if wrong := mismatch(state, own):
        raise UserError(f"the checkpoint does not fit the model its shapes and config describe: {wrong}")
    return {name: state[name].float() for name in own}
