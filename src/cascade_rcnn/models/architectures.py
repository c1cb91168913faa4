"""The named architectures.

A name combines a method of Figure 3 with a baseline of section 5.1.1 and its backbone.
"""

import dataclasses
import fnmatch
from dataclasses import dataclass
from typing import Literal

from cascade_rcnn.config import (
    CONVNEXTS,
    MVITS,
    SWINS,
    BackboneConfig,
    BoxHeadConfig,
    ConvFCHeadConfig,
    ConvNeXtConfig,
    DeformableConfig,
    FPNConfig,
    MViTConfig,
    NormConfig,
    OwnBackboneConfig,
    PyramidConfig,
    RegNetConfig,
    Res2NetConfig,
    ResNetConfig,
    RFCNHeadConfig,
    SimplePyramidConfig,
    SingleScaleConfig,
    SwinConfig,
    TimmConfig,
    VGGConfig,
    ViTConfig,
    replace,
)
from cascade_rcnn.errors import UserError, nearest

Method = Literal["cascade", "iterative", "integral"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Defaults of `ModelOptions` shared by the models of one baseline."""

    names: dict[str, str]  # key of `METHODS` -> format string of the model's name
    backbones: dict[str, BackboneConfig]
    pyramid: PyramidConfig
    box_head: BoxHeadConfig
    rpn_convs: int = 1
    rpn_channels: int | None = None
    proposals: dict[str, int] | None = None  # fields of `RPNConfig`; None: the preset's
    train_proposals: tuple[int, int] = (2, 1)  # entering and leaving NMS in training, per proposal kept at inference
    test_proposals: int = 1  # entering NMS at inference, per proposal kept
    rois: int
    min_size: int
    max_size: int
    divisor: int | None = None  # images are padded to multiples of it; None: the coarsest stride
    square: bool = False  # pad images to squares of `max_size`


METHODS: dict[str, tuple[Method, int]] = {  # with the default number of stages, iterations or classifiers
    "faster_rcnn": ("cascade", 1),
    "cascade_rcnn": ("cascade", 3),
    "iterative_bbox": ("iterative", 3),
    "integral_loss": ("integral", 3),
    "mask_rcnn": ("cascade", 1),
    "cascade_mask_rcnn": ("cascade", 3),
}
MASKED = ("mask_rcnn", "cascade_mask_rcnn")  # the methods that also predict masks; they need a pyramid
_RESNETS: dict[str, ResNetConfig] = {f"resnet{depth}": ResNetConfig(depth=depth) for depth in (18, 34, 50, 101, 152)}
_DEFORMABLE: dict[str, ResNetConfig] = {
    f"resnet{depth}_dcnv2": ResNetConfig(depth=depth, deformable=DeformableConfig(modulated=True))
    for depth in (50, 101)
}
_REGNETS: dict[str, BackboneConfig] = {
    "regnet_x_800mf": RegNetConfig(widths=(64, 128, 288, 672), depths=(1, 3, 7, 5), group_width=16),
    "regnet_x_3_2gf": RegNetConfig(widths=(96, 192, 432, 1008), depths=(2, 6, 15, 2), group_width=48),
}
_SWINS = {
    name: SwinConfig(width=SWINS[name][0], depths=SWINS[name][1], heads=SWINS[name][0] // 32, drop_path=rate)
    for name, rate in {"swin_t": 0.2, "swin_s": 0.2, "swin_b": 0.3, "swin_l": 0.4}.items()  # published, with masks
}
_CONVNEXT_RATES = {"tiny": 0.4, "small": 0.6, "base": 0.7, "large": 0.7, "xlarge": 0.8}  # published, with masks
_CONVNEXTS = {
    name: ConvNeXtConfig(width=width, depths=depths, drop_path=_CONVNEXT_RATES[name.removeprefix("convnext_")])
    for name, (width, depths) in CONVNEXTS.items()
}
_MVIT_RATES = {"mvitv2_t": 0.2, "mvitv2_s": 0.2, "mvitv2_b": 0.4, "mvitv2_l": 0.5, "mvitv2_h": 0.6}  # likewise
_FPN = Family(
    names={method: f"{method}_{{}}_fpn" for method in METHODS},
    backbones={
        **_RESNETS,
        **_DEFORMABLE,
        **_REGNETS,
        "res2net101": Res2NetConfig(),
        "resnext101_32x8d": ResNetConfig(depth=101, groups=32, width_per_group=8),
        **_SWINS,
        **_CONVNEXTS,
    },
    pyramid=FPNConfig(),
    box_head=ConvFCHeadConfig(),
    rois=512,
    min_size=800,
    max_size=1333,
)
_VGG = Family(
    names={method: f"{method}_{{}}" for method in METHODS if method not in MASKED},
    backbones={"vgg16": VGGConfig()},
    pyramid=SingleScaleConfig(),
    box_head=ConvFCHeadConfig(width=2048),
    rpn_channels=512,
    proposals={"pre_nms_train": 2000, "post_nms_train": 2000, "pre_nms_test": 5000, "post_nms_test": 300},
    train_proposals=(10, 4),
    test_proposals=10,
    rois=128,
    min_size=600,
    max_size=1000,
    divisor=32,
)
_RFCN = Family(
    names={
        "faster_rcnn": "rfcn_{}",
        "cascade_rcnn": "cascade_rfcn_{}",
        "iterative_bbox": "iterative_bbox_rfcn_{}",
        "integral_loss": "integral_loss_rfcn_{}",
    },
    backbones={name: replace(backbone, dilated=True) for name, backbone in _RESNETS.items()},
    pyramid=SingleScaleConfig(),
    box_head=RFCNHeadConfig(),
    rpn_channels=512,
    proposals={"pre_nms_train": 4000, "post_nms_train": 4000, "pre_nms_test": 3000, "post_nms_test": 300},
    train_proposals=(10, 4),
    test_proposals=10,
    rois=256,
    min_size=600,
    max_size=1000,
    divisor=32,
)
_VIT = Family(
    names={method: f"{method}_{{}}" for method in METHODS},
    backbones={
        "vit_b": ViTConfig(),
        "vit_l": ViTConfig(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23), drop_path=0.4),
        "vit_h": ViTConfig(width=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31), drop_path=0.5),
    },
    pyramid=SimplePyramidConfig(),
    box_head=ConvFCHeadConfig(convs=4, norm=NormConfig.of("layer"), fcs=1),
    rpn_convs=2,
    proposals={"post_nms_train": 1000},
    rois=512,
    min_size=1024,
    max_size=1024,
    square=True,
)
_MVIT = dataclasses.replace(  # as ViTDet's project has it: a ViT's detector with an FPN
    _VIT,
    names={method: f"{method}_{{}}_fpn" for method in METHODS},
    backbones={
        name: MViTConfig(width=width, depths=depths, heads=heads, drop_path=_MVIT_RATES[name])
        for name, (width, heads, depths) in MVITS.items()
    },
    pyramid=FPNConfig(norm=NormConfig.of("layer")),
)
_ARCHITECTURES = {
    pattern.format(name): (family, method, backbone)
    for family in (_FPN, _VGG, _RFCN, _VIT, _MVIT)
    for method, pattern in family.names.items()
    for name, backbone in family.backbones.items()
}
_WITHOUT_BACKBONE = {pattern.format("").replace("__", "_"): (_FPN, method) for method, pattern in _FPN.names.items()}
_OF_TIMM = "timm/"


def list_models(pattern: str = "*") -> list[str]:
    """List the model names that match a pattern with wildcards, as in file names: `*` stands for anything.

    With its option `backbone`, `create_model` also accepts names without a backbone, such as cascade_rcnn_fpn.

    >>> list_models("*resnet18*fpn")[:2]
    ['cascade_mask_rcnn_resnet18_fpn', 'cascade_rcnn_resnet18_fpn']
    """
    return sorted(fnmatch.filter(_ARCHITECTURES, pattern))


def has_masks(name: str) -> bool:
    """Return whether models of a name that `create_model` knows predict masks."""
    return (_WITHOUT_BACKBONE.get(name) or _find(name))[1] in MASKED


def sibling(name: str, method: str) -> str:
    """Return the name of the model with the same baseline and backbone but another method, such as faster_rcnn."""
    if name in _WITHOUT_BACKBONE:
        return next(other for other, (_, of) in _WITHOUT_BACKBONE.items() if of == method)
    family, _, backbone = _find(name)
    (suffix,) = [key for key, value in family.backbones.items() if value == backbone]
    return family.names[method].format(suffix)


def has_sibling(name: str, method: str) -> bool:
    """Return whether there is such a model: those without a pyramid have none with masks."""
    return name in _WITHOUT_BACKBONE or method in _find(name)[0].names


def _find(name: str) -> tuple[Family, str, BackboneConfig]:
    if name not in _ARCHITECTURES:
        if name in _WITHOUT_BACKBONE:
            raise UserError(f"{name} needs a backbone: give backbone='resnet50', 'timm/NAME' or your own module")
        raise UserError(f"there is no model '{name}'{nearest(name, list_models())}; see cascade_rcnn.list_models()")
    return _ARCHITECTURES[name]


def choose(name: str, backbone: str | OwnBackboneConfig | None) -> tuple[str, Family, str, BackboneConfig]:
    """Look up a name's architecture; `backbone`, if given, replaces the one in the name."""
    if backbone is None:
        return (name, *_find(name))
    family, method = _WITHOUT_BACKBONE.get(name) or _find(name)[:2]
    if family is not _FPN:
        raise UserError(f"backbone={backbone}: {name} has a fixed backbone; give a name without one: cascade_rcnn_fpn")
    if isinstance(backbone, str) and not backbone.startswith(_OF_TIMM):
        if backbone not in family.backbones:
            known = list(family.backbones)
            raise UserError(
                f"there is no backbone '{backbone}'{nearest(backbone, known)}; known: {', '.join(known)}, timm/NAME "
                "for one from timm, or your own module"
            )
        return family.names[method].format(backbone), family, method, family.backbones[backbone]
    unnamed = next(other for other, found in _WITHOUT_BACKBONE.items() if found == (family, method))
    config = TimmConfig(model=backbone.removeprefix(_OF_TIMM)) if isinstance(backbone, str) else backbone
    return unnamed, family, method, config
