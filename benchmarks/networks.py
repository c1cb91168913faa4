"""The candidates: our detectors and the peers' on the same weights, each behind the same two calls."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import cascade_rcnn
from benchmarks.measure import Task
from cascade_rcnn.config import INFERENCE
from cascade_rcnn.engine.predictor import DTYPES, Precision, autocast
from cascade_rcnn.models.detector import Detector

# Where detectron2 is not installed: its cascade over torchvision's fasterrcnn_resnet50_fpn, fp32 on two CPU threads.
DETECTRON2_OVER_TORCHVISION = {"inference": 1.31, "training": 1.62}
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
REJECTING: dict[str, Any] = {"survivors": 200}  # early rejection


@dataclass(frozen=True)
class Network:
    """A detector: images are uint8 (3, H, W), targets torchvision's."""

    model: nn.Module
    detect: Callable[[list[Tensor]], Any]
    loss: Callable[[list[Tensor], list[dict[str, Tensor]]], Tensor]

    def step(self, images: list[Tensor], targets: list[dict[str, Tensor]], precision: Precision = "fp32") -> Tensor:
        """Forward and backward."""
        self.model.zero_grad(set_to_none=True)
        with precise(images[0], precision):
            loss = self.loss(images, targets)
        loss.backward()
        return loss


def precise(image: Tensor, precision: Precision) -> AbstractContextManager:
    """The context of this precision on the image's device."""
    return autocast(image.device, precision)


def names() -> list[str]:
    """The candidates that can be built here; the peers last."""
    rejecting = ["cascade, early rejection"] if set(REJECTING) <= set(INFERENCE) else []
    installed = [name for name in ("detectron2", "mmdet") if find_spec(name)]
    return ["cascade", "faster", *rejecting, "torchvision v1", "torchvision v2", *installed]


def is_ours(name: str) -> bool:
    """Whether a candidate is this package's."""
    return name.startswith(("cascade", "faster"))


def load(name: str, folder: Path, task: Task) -> Network:
    """A candidate with the weights that `weights.prepare` wrote to the folder, for this task."""
    match name:
        case "cascade" | "faster":
            return ours(cascade_rcnn.load(folder / f"{name}.safetensors"))
        case "cascade, early rejection":
            return ours(cascade_rcnn.load(folder / "cascade.safetensors", **REJECTING))
        case "faster, converted":
            from cascade_rcnn.interop import convert_checkpoint

            converted, _ = convert_checkpoint(folder / "torchvision.pth", "torchvision")
            rpn = replace(converted.config.rpn, pre_nms_test=task.proposals, post_nms_test=task.proposals)
            model = cascade_rcnn.build(replace(converted.config.with_inference(min_size=None), rpn=rpn)).eval()
            model.load_state_dict(converted.state_dict())
            return ours(model)
        case "torchvision v1" | "torchvision v2":
            from benchmarks import peers

            build = peers.torchvision_v1 if name.endswith("1") else peers.torchvision_v2
            return _like_torchvision(build(folder, task), scale=1 / 255)
        case "detectron2" | "mmdet":
            from benchmarks import peers

            return Network(*getattr(peers, name)(folder, task))
        case _:
            raise SystemExit(f"no candidate is called {name}")


def for_inference(network: Network, precision: Precision = "fp32") -> Network:
    """As `Predictor` runs ours at this precision."""
    if isinstance(network.model, Detector):
        network.model.for_inference(DTYPES[precision])
    return network


def ours(model: nn.Module) -> Network:
    """A detector of this package, or anything with its contract."""
    return _like_torchvision(model, scale=None)


def _like_torchvision(model: nn.Module, scale: float | None) -> Network:
    def scaled(images: list[Tensor]) -> list[Tensor]:
        return images if scale is None else [image * scale for image in images]

    @torch.inference_mode()
    def detect(images: list[Tensor]) -> Any:
        return model.eval()(scaled(images))

    def loss(images: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
        return torch.stack(list(model.train()(scaled(images), targets).values())).sum()

    return Network(model.eval(), detect, loss)
