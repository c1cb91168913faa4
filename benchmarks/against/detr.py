"""RT-DETR (Apache-2.0, from `transformers`) on the same ResNet-18; its own weights are not available without a network.

It is trained with AdamW at the published rates (1e-4, and 1e-5 for the backbone), gradients clipped at 0.1, and DETR's
frozen batch norm.
"""

import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.against.setting import Detect, Setting, Tick, batches
from cascade_rcnn.engine.predictor import autocast

_CPU = torch.device("cpu")
_MEAN, _STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
_STRIDE, _QUERIES = 32, 300


def contend(setting: Setting, tick: Tick) -> Detect:
    """Train an RT-DETR with ResNet-18, and return its detector."""
    torch.manual_seed(setting.seed)
    model = _model(setting.weights, len(setting.images.categories)).train()
    backbone = {id(parameter) for parameter in model.model.backbone.parameters()}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in backbone]
    groups = [{"params": list(model.model.backbone.parameters()), "lr": 1e-5}, {"params": rest}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, weight_decay=1e-4)
    for batch in batches(setting):
        pixels, labels = collate(batch.samples(), setting.sides)
        with autocast(_CPU, setting.precision):
            loss = model(pixel_values=pixels, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        tick()
    return _detect(model.eval(), setting)


def _model(weights: Path, classes: int) -> Any:
    from transformers import ResNetConfig, RTDetrConfig, RTDetrForObjectDetection  # type: ignore[reportMissingImports]

    resnet = ResNetConfig(
        layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], embedding_size=64,
        out_features=["stage2", "stage3", "stage4"],  # type: ignore[reportCallIssue]
    )  # fmt: skip
    config = RTDetrConfig(
        backbone_config=resnet, encoder_in_channels=[128, 256, 512], decoder_layers=3,
        num_labels=classes,  # type: ignore[reportCallIssue]
        num_queries=_QUERIES, freeze_backbone_batch_norms=True,
    )  # fmt: skip
    model = RTDetrForObjectDetection(config)
    missing = set(load_resnet(model.model.backbone, weights))
    if missing:
        raise SystemExit(f"{weights} lacks weights of RT-DETR's backbone: {sorted(missing)[:3]}")
    return model


def load_resnet(backbone: torch.nn.Module, weights: Path) -> list[str]:
    """Load torchvision's weights into a ResNet of `transformers`; return the names that they did not have."""
    given, own = load_file(weights), backbone.state_dict()
    found = {name: given[there] for name in own if (there := torchvision_name(name)) in given}
    backbone.load_state_dict(own | {name: value.float() for name, value in found.items()})
    return [name for name in own if name not in found and not name.endswith("num_batches_tracked")]


def torchvision_name(name: str) -> str:
    """Translate a parameter's name within a ResNet of `transformers` to torchvision's."""
    parts = {"convolution": "conv", "normalization": "bn"}
    if stem := re.search(r"embedder\.embedder\.(convolution|normalization)\.(\w+)$", name):
        return f"{parts[stem[1]]}1.{stem[2]}"
    if short := re.search(r"stages\.(\d)\.layers\.(\d)\.shortcut\.(convolution|normalization)\.(\w+)$", name):
        place = "0" if short[3] == "convolution" else "1"
        return f"layer{int(short[1]) + 1}.{short[2]}.downsample.{place}.{short[4]}"
    if own := re.search(r"stages\.(\d)\.layers\.(\d)\.layer\.(\d)\.(convolution|normalization)\.(\w+)$", name):
        return f"layer{int(own[1]) + 1}.{own[2]}.{parts[own[4]]}{int(own[3]) + 1}.{own[5]}"
    return name


def scale(image: Tensor, sides: tuple[int, int]) -> float:
    """Return the factor by which an image (3, H, W) is resized, to the short side and the longest of all contenders."""
    shape = image.shape[1:]
    return min(sides[0] / min(shape), sides[1] / max(shape))


def _prepare(image: Tensor, sides: tuple[int, int]) -> Tensor:
    factor = scale(image, sides)
    size = [round(factor * side) for side in image.shape[1:]]
    resized = F.interpolate(image[None].float() / 255, size=size, mode="bilinear", antialias=True)[0]
    return (resized - _MEAN) / _STD


def collate(
    samples: list[tuple[Tensor, dict[str, Any]]], sides: tuple[int, int]
) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Resize and pad to a multiple of the stride; boxes become centres and sizes, as fractions of the padded image."""
    images = [_prepare(image, sides) for image, _ in samples]
    height, width = (-(-max(image.shape[k] for image in images) // _STRIDE) * _STRIDE for k in (1, 2))
    pixels = torch.stack([F.pad(i, (0, width - i.shape[2], 0, height - i.shape[1])) for i in images])
    labels = []
    for image, target in samples:
        boxes = target["boxes"] * scale(image, sides) / torch.tensor([width, height, width, height])
        corner, end = boxes.split(2, dim=1)
        labels.append({"class_labels": target["labels"] - 1, "boxes": torch.cat(((corner + end) / 2, end - corner), 1)})
    return pixels, labels


def _detect(model: Any, setting: Setting) -> Detect:
    @torch.inference_mode()
    def detect(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
        pixels, _ = collate([(image, nothing)], setting.sides)
        with autocast(_CPU, setting.precision):
            found = model(pixel_values=pixels)
        scores, flat = found.logits[0].float().sigmoid().flatten().topk(100)
        centre, size = found.pred_boxes[0].float()[flat // found.logits.shape[-1]].split(2, dim=1)
        factor = scale(image, setting.sides)
        extent = torch.tensor([pixels.shape[3], pixels.shape[2]]) / factor
        limit = torch.tensor([image.shape[2], image.shape[1]])
        corners = [((centre + sign * size / 2) * extent).clamp(min=0).minimum(limit) for sign in (-1, 1)]
        return torch.cat(corners, dim=1), scores, flat % found.logits.shape[-1] + 1

    return detect
