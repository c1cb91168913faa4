"""What the converters share: renaming tensors, changing their layout, and inferring configs from their shapes.

M classes · T stages · C channels of the pyramid · S bins per side
"""

import re

import torch
from torch import Tensor

from cascade_rcnn.config import (
    AnchorConfig,
    Category,
    ConvFCHeadConfig,
    FPNConfig,
    MaskConfig,
    ModelConfig,
    RoIAlignConfig,
    RPNConfig,
    SimplePyramidConfig,
    StageConfig,
    TimmConfig,
)
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop import backbones
from cascade_rcnn.interop.backbones.family import Family
from cascade_rcnn.interop.norms import seen_norm
from cascade_rcnn.interop.renaming import Layout, Names, State, number_of, rename
from cascade_rcnn.models.blank import described
from cascade_rcnn.models.state_dicts import mismatch

MASK_HEADS = "tasks.0.heads."
_FOREIGN = {  # the network that an unexpected tensor belongs to, by the names of the backbone's tensors
    r"backbone\.body\.\d+\.": "a MobileNet",
    r"backbone\..*\.attn\.|backbone\.(bottom_up\.)?patch_embed": "a Swin or another vision transformer",
    r"backbone\.downsample_layers|depthwise_conv|\.gamma$": "a ConvNeXt",
}


def our_names(origin: str, state: State, names: Names, ignored: str, masks: str = "(?!)") -> tuple[Family, State]:
    """Return the family of the backbone, and another framework's tensors under our names.

    `names` covers all parts but the backbone. Tensors that match the pattern `ignored` are left out. So are those that
    match `masks` if one of them has no counterpart here, as the mask head is then of another kind. Raises UserError
    naming any other tensor without a counterpart.
    """
    family = backbones.find(origin, state)
    rows = [(theirs, ours) for ours, theirs in (*family.peers[origin].names, *names)]
    found: State = {}
    state = {name: tensor for name, tensor in state.items() if not re.match(ignored, name)}
    if any(re.match(masks, name) and rename(name, rows) is None for name in state):
        state = {name: tensor for name, tensor in state.items() if not re.match(masks, name)}
    for name, tensor in state.items():
        ours = rename(name, rows)
        if ours is None:
            kind = next((f" (of {kind})" for pattern, kind in _FOREIGN.items() if _shows(pattern, name, state)), "")
            raise UserError(
                f"the checkpoint holds '{name}' {tuple(tensor.shape)}{kind}, which has no place in a Faster or Cascade "
                "R-CNN with a feature pyramid and a supported backbone"
            )
        found[ours] = tensor
    if "rpn.conv.1.weight" not in found:  # a single convolution is not numbered here
        found = {name.replace("rpn.conv.0.", "rpn.conv."): tensor for name, tensor in found.items()}
    return family, found


def _shows(pattern: str, name: str, state: State) -> bool:
    """Return whether a tensor is part of the backbone and the pattern matches any tensor of the checkpoint."""
    return name.startswith("backbone.") and any(re.search(pattern, other) for other in state)


def skeleton(state: State, family: Family) -> ModelConfig:
    """Infer the config from the shapes of tensors under our names; all other settings keep their defaults."""
    try:
        return _skeleton(state, family)
    except KeyError as error:
        raise UserError(f"the checkpoint has no tensor for {error}; it is not a complete detector") from None


def _skeleton(state: State, family: Family) -> ModelConfig:
    backbone = family.describe(state)
    stages = number_of(state, "roi_heads.heads.{}.classifier.weight")
    classes = len(state["roi_heads.heads.0.classifier.weight"]) - 1
    pyramid = _pyramid(state)
    suffix = "_fpn" if isinstance(pyramid, FPNConfig) else ""
    label = "" if isinstance(backbone, TimmConfig) else f"_{backbone.label}"
    head, inputs = _box_head(state)
    channels = head.conv_channels if head.convs else pyramid.channels
    masks = _masks(state, classes)
    method = ("cascade_mask" if masks else "cascade") if stages > 1 else "mask" if masks else "faster"
    return ModelConfig(
        name=f"{method}_rcnn{label}{suffix}",
        categories=tuple(Category(id=k, name=f"class {k}") for k in range(1, classes + 1)),
        stages=(StageConfig(),) * stages,
        backbone=backbone,
        pyramid=pyramid,
        rpn=RPNConfig(
            anchors=AnchorConfig(ratios=(1.0,) * len(state["rpn.objectness.weight"])),
            convs=max(1, number_of(state, "rpn.conv.{}.weight")),
        ),
        roi_align=RoIAlignConfig(resolution=round((inputs / channels) ** 0.5)),
        box_head=head,
        tasks=masks,
    )


def _masks(state: State, classes: int) -> tuple[MaskConfig, ...]:
    """Infer the mask heads, one or one per stage, if there are any."""
    number, head = number_of(state, f"{MASK_HEADS}{{}}.predictor.weight"), f"{MASK_HEADS}0."
    if number == 0:
        return ()
    masks = MaskConfig(
        stages=tuple(range(1, number + 1)),
        weights=(1.0,) * number,
        convs=number_of(state, f"{head}conv{{}}.weight", first=1),
        channels=state[f"{head}deconv.weight"].shape[1],
        norm=seen_norm(state, f"{head}bn1"),
        class_agnostic=len(state[f"{head}predictor.weight"]) == 1 and classes > 1,
    )
    return (masks,)


def _pyramid(state: State) -> FPNConfig | SimplePyramidConfig:
    kind = SimplePyramidConfig if "pyramid.scale.0.0.weight" in state else FPNConfig
    return kind(channels=len(state["pyramid.lateral.0.weight"]), norm=seen_norm(state, "pyramid.lateral_norm.0"))


def parts(skeleton: ModelConfig) -> tuple[FPNConfig | SimplePyramidConfig, ConvFCHeadConfig]:
    """Return the pyramid and the box head, which are of the kinds that the converters support."""
    pyramid, head = skeleton.pyramid, skeleton.box_head
    assert isinstance(pyramid, FPNConfig | SimplePyramidConfig)
    assert isinstance(head, ConvFCHeadConfig)
    return pyramid, head


def _box_head(state: State) -> tuple[ConvFCHeadConfig, int]:
    """Infer a stage's head and the number of inputs of its first fully connected layer."""
    head = "roi_heads.heads.0."
    convs, fcs = (number_of(state, f"{head}{kind}{{}}.weight", first=1) for kind in ("conv", "fc"))
    reader = state[f"{head}fc1.weight" if fcs else f"{head}classifier.weight"]
    config = ConvFCHeadConfig(
        convs=convs,
        conv_channels=len(state[f"{head}conv1.weight"]) if convs else 256,
        norm=seen_norm(state, f"{head}bn1"),
        fcs=fcs,
        width=len(reader) if fcs else 1024,
        class_agnostic=len(state[f"{head}regressor.weight"]) == 4,
    )
    return config, reader.shape[1]


def anchor_size(size: float) -> int:
    """Return a size as an integer, which configs may compute from fractions. Raises UserError if it is not one."""
    if abs(size - round(size)) > 1e-6:
        raise UserError(f"the config has anchors of {size:g} pixels; only whole numbers can be converted")
    return round(size)


def fc1_in(weight: Tensor, config: ModelConfig) -> Tensor:
    """Reorder the first layer's inputs from (channel, bin row, bin column) to our (bin row, bin column, channel)."""
    side = config.roi_align.resolution
    if weight.shape[1] % side**2:
        return weight  # fits no model, which `check` reports
    return weight.unflatten(1, (-1, side, side)).permute(0, 2, 3, 1).flatten(1)


def fc1_out(weight: Tensor, config: ModelConfig) -> Tensor:
    """Invert `fc1_in`."""
    side = config.roi_align.resolution
    return weight.unflatten(1, (side, side, -1)).permute(0, 3, 1, 2).flatten(1)


def background_first(classifier: Tensor) -> Tensor:
    """Move the background from the last to the first of the rows (M + 1, ...)."""
    return classifier.roll(1, dims=0)


def background_last(classifier: Tensor) -> Tensor:
    """Invert `background_first`."""
    return classifier.roll(-1, dims=0)


LAYOUT_IN: Layout = {
    r"roi_heads\.heads\.\d+\.fc1\.weight": fc1_in,
    r"roi_heads\.heads\.\d+\.classifier\.(weight|bias)": lambda rows, _: background_first(rows),
}
LAYOUT_OUT: Layout = {
    r"roi_heads\.heads\.\d+\.fc1\.weight": fc1_out,
    r"roi_heads\.heads\.\d+\.classifier\.(weight|bias)": lambda rows, _: background_last(rows),
}


def check(state: State, config: ModelConfig) -> State:
    """Return `state` (our names and layout) in float32 if it is exactly the state of a model with this config.

    Raises UserError if the RPN has other anchors, or naming the first tensor that is missing, left over or of another
    shape.
    """
    own = {k: v for k, v in described(config).items() if not k.endswith("num_batches_tracked")}
    seen, expected = (tensors.get("rpn.objectness.bias", torch.empty(0)).numel() for tensors in (state, own))
    if seen and expected and seen != expected:
        raise UserError(
            f"its RPN has {seen} anchors per position, but its config (without one, the framework's default) has "
            f"{expected}; give the config it was trained with (torchvision's models have none: only the default "
            "anchors convert)"
        )
    if wrong := mismatch(state, own):
        raise UserError(f"the checkpoint does not fit the model that its shapes and config describe: {wrong}")
    return {name: state[name].float() for name in own}
