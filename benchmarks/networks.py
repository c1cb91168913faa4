"""The candidates in this process: our detectors and torchvision's, with the same weights and the same two functions."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import cascade_rcnn
from benchmarks.measure import Task
from cascade_rcnn.config import INFERENCE, replace
from cascade_rcnn.engine.predictor import DTYPES, Precision, autocast
from cascade_rcnn.interop import convert_checkpoint
from cascade_rcnn.models.detector import Detector

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
REJECTING: dict[str, Any] = {"survivors": 200}  # early rejection


@dataclass(frozen=True)
class Network:
    """A detector; images are uint8 (3, H, W), and targets have torchvision's format."""

    model: nn.Module
    detect: Callable[[list[Tensor]], Any]
    loss: Callable[[list[Tensor], list[dict[str, Tensor]]], Tensor]

    def step(self, images: list[Tensor], targets: list[dict[str, Tensor]], precision: Precision = "fp32") -> Tensor:
        """Run forward and backward, and return the loss."""
        self.model.zero_grad(set_to_none=True)
        with precise(images[0], precision):
            loss = self.loss(images, targets)
        loss.backward()
        return loss.detach()


def precise(image: Tensor, precision: Precision) -> AbstractContextManager:
    """Return the autocast context for this precision on the image's device."""
    return autocast(image.device, precision)


def names() -> list[str]:
    """Return the candidates without masks, torchvision's last."""
    rejecting = ["cascade, early rejection"] if set(REJECTING) <= set(INFERENCE) else []
    return ["cascade", "faster", *rejecting, "torchvision v1", "torchvision v2"]


def is_ours(name: str) -> bool:
    """Return whether a candidate is from this package."""
    return name.startswith(("cascade", "faster"))


def load(name: str, folder: Path, task: Task) -> Network:
    """Load a candidate for this task with the weights that `weights.prepare` wrote to the folder."""
    match name:
        case "cascade" | "faster":
            return ours(cascade_rcnn.load(folder / f"{name}.safetensors"))
        case "cascade, encoded" | "faster, encoded":
            return _encoded(cascade_rcnn.load(folder / f"{name.partition(',')[0]}.safetensors"))
        case "cascade, early rejection":
            return ours(cascade_rcnn.load(folder / "cascade.safetensors", **REJECTING))
        case "torchvision v1" | "torchvision v2":
            from benchmarks.peers import torchvision_faster

            build = torchvision_faster.v1 if name.endswith("1") else torchvision_faster.v2
            return _like_torchvision(build(folder, task), scale=1 / 255)
        case _:
            raise SystemExit(f"unknown candidate: {name}")


def converted(origin: str, folder: Path, task: Task) -> Network:
    """Convert the peer's checkpoint, with the config that the peer wrote next to it."""
    config = next((folder / f"{origin}{end}" for end in (".yaml", ".py") if (folder / f"{origin}{end}").exists()), None)
    model, _ = convert_checkpoint(folder / f"{origin}.pth", origin, config)  # type: ignore[arg-type]
    rpn = replace(model.config.rpn, pre_nms_test=task.proposals, post_nms_test=task.proposals)
    rebuilt = cascade_rcnn.build(replace(model.config.with_inference(min_size=None), rpn=rpn)).eval()
    rebuilt.load_state_dict(model.state_dict())
    return ours(rebuilt)


def for_inference(network: Network, precision: Precision = "fp32") -> Network:
    """Prepare our detectors as `Predictor` does for this precision."""
    if isinstance(network.model, Detector):
        network.model.for_inference(DTYPES[precision])
    return network


def ours(model: nn.Module) -> Network:
    """Wrap a detector from this package, or anything with the same interface."""
    return _like_torchvision(model, scale=None)


def _encoded(model: Detector) -> Network:
    """Wrap a detector as `Detector.predict` and `Predictor` use it, with encoded masks."""
    return Network(model, torch.inference_mode()(model.eval().find), ours(model).loss)


def _like_torchvision(model: nn.Module, scale: float | None) -> Network:
    def scaled(images: list[Tensor]) -> list[Tensor]:
        return images if scale is None else [image * scale for image in images]

    @torch.inference_mode()
    def detect(images: list[Tensor]) -> Any:
        return model.eval()(scaled(images))

    def loss(images: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
        return torch.stack(list(model.train()(scaled(images), targets).values())).sum()

    return Network(model.eval(), detect, loss)
