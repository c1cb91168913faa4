"""Random weights that behave like trained ones, the same for every framework.

Timings with a plain random network are meaningless: activations overflow or vanish, and the number of proposals and
detections is accidental. Therefore, on a small copy of the photo,
- every batch norm of the backbone gets the statistics of its inputs;
- every output channel of the pyramid and the heads is scaled to mean 0 and a standard deviation as in trained networks
  (features 1, objectness 2, class logits 1.5, deltas 0.2 in the RPN and, normalised, 0.5 in the heads);
- the bias of the background is set so that 1 % of the (box, class) pairs have a score above 0.05;
- the last layer of the mask heads is drawn so that pixels fall on both sides of 0.5.
`prepare` checks that all values are finite.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cascade_rcnn
from benchmarks.measure import Task
from benchmarks.photo import maps, objects
from cascade_rcnn.config import Category, ModelConfig, ModelOptions, replace
from cascade_rcnn.config.presets import preset_stages
from cascade_rcnn.interop import backbones, layout
from cascade_rcnn.interop.convert import names_at
from cascade_rcnn.interop.detectron2 import to_detectron2
from cascade_rcnn.interop.renaming import relaid, rename
from cascade_rcnn.models.build import build
from cascade_rcnn.models.configure import model_config
from cascade_rcnn.models.detector import Detector

Layer: TypeAlias = nn.Conv2d | nn.Linear
_SCORE, _PAIRS = 0.05, 0.01
_CALIBRATION_SIZE = 160  # short side in pixels


def config(name: str, task: Task, stages: int | None = None) -> ModelConfig:
    """Return an architecture's config as with pretrained weights: batch norm fixed, stem and first layer frozen."""
    categories = tuple(Category(id=k, name=f"class {k}") for k in range(1, task.classes + 1))
    options = ModelOptions(stages=stages, min_size=None, proposals=task.proposals, rois=rois(task))
    return model_config(name, categories, options, pretrained=True)


def rois(task: Task) -> int:
    """Return the number of boxes per image that a stage is trained on: 512 of 1000."""
    return min(512, task.proposals)


def calibrated(settings: ModelConfig, image: Tensor, seed: int = 0) -> Detector:
    """Build a detector with random weights, scaled as described above on this image (3, H, W) uint8."""
    torch.manual_seed(seed)
    backbone = settings.backbone
    learning = backbone.normalised("batch") if hasattr(backbone, "norm") else backbone
    learning = replace(learning, frozen_stages=0)  # frozen layers keep their statistics
    trained = build(replace(settings, backbone=learning))
    scale = _CALIBRATION_SIZE / min(image.shape[1:])
    small = F.interpolate(image[None].float(), scale_factor=scale, mode="bilinear", antialias=True)[0].byte()
    with torch.no_grad():
        batch = trained.preprocess([small])
        take_statistics(trained.backbone, lambda: trained.backbone(batch.pixels))
        model = build(settings).eval()
        state = trained.state_dict()
        model.load_state_dict({name: state[name] for name in model.state_dict()})
        maps = model.backbone(batch.pixels)
        pyramid: Any = model.pyramid
        rpn: Any = model.rpn
        heads: Any = model.roi_heads.heads

        def rest() -> None:
            features = model.pyramid(maps)
            logits, deltas = model.rpn(features)
            proposals, _ = model.rpn.propose(model.rpn.anchors(features), logits, deltas, batch.sizes)
            model.roi_heads(features, proposals, batch.sizes)

        for layer in pyramid.output:
            spread(layer, rest, 1.0)
        spread(rpn.objectness, rest, 2.0)
        spread(rpn.deltas, rest, 0.2)
        for head in heads:
            for layer, std in ((head.fc1, 1.0), (head.fc2, 1.0), (head.classifier, 1.5), (head.regressor, 0.5)):
                spread(layer, rest, std)
            set_background(head.classifier, rest)
        for head in (head for task in model.tasks for head in task.heads):  # type: ignore[union-attr]
            nn.init.normal_(head.predictor.weight, std=0.1)
    return model


def take_statistics(module: nn.Module, run: Callable[[], object]) -> None:
    """Give every batch norm the statistics of its inputs during `run`."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average
        norm.train()
    run()
    for norm in norms:
        norm.eval()


def _outputs(layer: Layer, run: Callable[[], object]) -> Tensor:
    """Return the outputs of a convolution or linear layer during `run`, (N, channels)."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output.float()))
    run()
    handle.remove()
    dimension = 1 if isinstance(layer, nn.Conv2d) else -1
    return torch.cat([x.movedim(dimension, -1).flatten(0, -2) for x in seen])


def spread(layer: Layer, run: Callable[[], object], std: float) -> None:
    """Scale and shift a layer so that each of its channels has mean 0 and this standard deviation during `run`."""
    output = _outputs(layer, run)
    scale = std / output.std(dim=0).clamp(min=1e-6)
    shape = (-1,) + (1,) * (layer.weight.ndim - 1)
    layer.weight *= scale.view(shape)
    assert layer.bias is not None
    layer.bias.copy_((layer.bias - output.mean(dim=0)) * scale)


def set_background(classifier: nn.Linear, run: Callable[[], object]) -> None:
    """Shift the background's logit (the first) so that a fixed share of the pairs has a score above the threshold."""
    logits = _outputs(classifier, run)
    low, high = -20.0, 40.0
    for _ in range(30):
        middle = (low + high) / 2
        shifted = torch.cat([logits[:, :1] + middle, logits[:, 1:]], dim=1)
        above = (shifted.softmax(dim=1)[:, 1:] > _SCORE).float().mean()
        low, high = (middle, high) if above > _PAIRS else (low, middle)
    classifier.bias[0] += low


def first_stage(cascade: Detector) -> Detector:
    """Return the Faster R-CNN in a cascade: the same network with only its first head."""
    name = "mask_rcnn" if cascade.config.tasks else "faster_rcnn"
    settings = replace(cascade.config, name=name, stages=preset_stages(cascade.config.semantics.name, 1))
    faster = build(settings).eval()
    state = cascade.state_dict()
    faster.load_state_dict({name: state[name] for name in faster.state_dict()})
    return faster


def to_torchvision(faster: Detector) -> dict[str, Tensor]:
    """Convert a network to torchvision's names; every class gets our single regressor.

    The background, for which our heads have no regressor or mask, comes first.
    """
    regressors = faster.config.num_classes + 1
    theirs, names = {}, names_at("torchvision", faster.config)
    for name, value in faster.state_dict().items():
        if name.endswith("fc1.weight"):
            value = layout.fc1_out(value, faster.config)
        if ".regressor." in name:
            value = value.repeat(regressors, *(1,) * (value.ndim - 1))
        if ".predictor." in name:
            value = torch.cat([value[:1], value])
        theirs[rename(name, names) or name] = value.contiguous()
    return theirs


def to_mmdet(model: Detector) -> dict[str, Tensor]:
    """Convert a network to mmdetection's names and layout."""
    names = names_at("mmdet", model.config)
    backbone = backbones.of_config("mmdet", model.config.backbone)
    state = relaid(model.state_dict(), model.config, {**layout.LAYOUT_OUT, **backbone.layout_out})
    return {rename(name, names) or name: value for name, value in state.items()}


def prepare(folder: Path, image: Tensor, task: Task) -> None:
    """Write the photo, its objects and the networks' weights to a folder from which all candidates read them."""
    torch.save(image, folder / "photo.pth")
    torch.save(objects(task.size, task.classes, masks=task.masks), folder / "objects.pth")
    cascade = calibrated(config(f"cascade{'_mask' if task.masks else ''}_rcnn_{task.backbone}_fpn", task), image)
    faster = first_stage(cascade)
    cascade_rcnn.save(cascade, folder / "cascade.safetensors")
    cascade_rcnn.save(faster, folder / "faster.safetensors")
    if task.backbone == "resnet50":
        torch.save(to_torchvision(faster), folder / "torchvision.pth")
        torch.save(to_detectron2(cascade), folder / "detectron2.pth")
    if task.masks:
        torch.save(maps(task.size), folder / "maps.pth")
    else:  # mmdetection's cascade has a mask head per stage, so it is another network
        torch.save(to_mmdet(cascade), folder / "mmdet.pth")
    for model in (cascade, faster):
        (found,) = model([image])
        if not all(value.isfinite().all() for value in found.values()) or not len(found["boxes"]):
            raise SystemExit("the random network has no detections, or some are not finite")
