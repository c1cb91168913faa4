# pyright: strict
"""User code for pyright in strict mode (`make lint`): public names are typed, and wrong keywords are found.

An unnecessary `pyright: ignore` is an error here, so each of them proves that a mistake is detected.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true, reportMissingTypeStubs=false

from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

import torch
from supervision import Detections
from torch import Tensor, nn
from torchvision.transforms import v2

import cascade_rcnn
from cascade_rcnn import (
    Annotations,
    Callback,
    ClassMetrics,
    DataConfig,
    Dataset,
    Detector,
    EpochEnd,
    Metrics,
    OptimizerConfig,
    Predictor,
    Recipe,
    Runtime,
    StepEnd,
    TrainingResult,
    UserError,
)


class Cells:
    """A dataset unrelated to the package."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.rand(3, 64, 64), {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}


class Patience(Callback):
    """A callback needs only some of the methods."""

    def on_epoch_end(self, epoch: EpochEnd) -> bool:
        return epoch.metrics is not None and epoch.metrics.ap > 0.5


class Printer:
    """A callback with all of the methods, without the base class."""

    def on_step_end(self, step: StepEnd) -> None:
        print(step.step, sum(step.losses.values()))

    def on_epoch_end(self, epoch: EpochEnd) -> None:
        print(epoch.model.class_names)


def models() -> None:
    assert_type(cascade_rcnn.list_models("*r50*"), list[str])
    model = cascade_rcnn.create_model("cascade_rcnn_resnet50_fpn", 3, weights_backbone="imagenet", stages=2, rois=256)
    assert_type(model, Detector)
    cascade_rcnn.create_model("cascade_rcnn_resnet50_fpn", 3, stagse=2)  # pyright: ignore[reportCallIssue]
    cascade_rcnn.create_model("cascade_rcnn_resnet50_fpn", 3, stages="2")  # pyright: ignore[reportArgumentType]
    assert_type(cascade_rcnn.load("starter", min_size=None, score_threshold=0.3), Detector)
    cascade_rcnn.load(Path("starter"), treshold=0.3)  # pyright: ignore[reportCallIssue]
    cascade_rcnn.save(model, "model.safetensors")
    assert_type(model.config.num_classes, int)
    converted = cascade_rcnn.convert_checkpoint("model.pth", "detectron2", config="config.yaml")
    cascade_rcnn.save_detectron2(converted, "theirs.pth")


def train() -> TrainingResult:
    result = cascade_rcnn.train("small", data="photos", epochs=3, optimizer={"lr": 1e-3}, callbacks=[Printer()])
    assert_type(result.metrics, Metrics | None)
    assert_type(result.model, Detector)
    recipe = Recipe(optimizer=OptimizerConfig(name="adamw"), data=DataConfig(train="a.json"))
    cascade_rcnn.train(recipe, epoch=3)  # pyright: ignore[reportCallIssue]
    cascade_rcnn.train(recipe, precision="fp8")  # pyright: ignore[reportArgumentType]
    transforms = v2.Compose([cascade_rcnn.build_transforms(flip=0.5), v2.RandomVerticalFlip()])
    return cascade_rcnn.train(
        recipe,
        data=Cells(),
        val=cascade_rcnn.load_annotations("val.json"),
        classes={1: "red", 2: "white"},
        transforms=transforms,
        callbacks=[Patience()],
        output=Path("runs/cells"),
        resume=True,
    )


def evaluate(annotations: Annotations, runtime: Runtime) -> list[float]:
    metrics = cascade_rcnn.evaluate(Predictor("best.safetensors", max_detections=300), annotations, precision="bf16")
    assert_type(metrics.per_class, tuple[ClassMetrics, ...])
    metrics.save("metrics.json")
    others = [cascade_rcnn.evaluate(runtime, Cells()), cascade_rcnn.evaluate_detections("found.json", "val.json")]
    return [one.ap for one in [metrics, *others]]


def predict(model: Detector, frames: Iterator[Tensor]) -> None:
    assert_type(model.predict("photo.jpg"), Detections)
    assert_type(model.predict(["a.jpg", "b.jpg"]), list[Detections])
    assert_type(model.predict(frames, batch_size=8), Iterator[Detections])
    try:
        summary = cascade_rcnn.predict_files(model, ["photos"], output="found", formats=["coco", "yolo"])
    except UserError as error:
        print(error)
    else:
        assert_type(summary.failed, int)


class Backbone(nn.Module):
    """A backbone without `layers`."""

    channels, strides = (16,), (16,)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return [pixels]


def own_backbone() -> Detector:
    cascade_rcnn.create_model("cascade_rcnn_fpn", 3, backbone="timm/resnet18")
    cascade_rcnn.create_model("cascade_rcnn_fpn", 3, backbone=nn.Identity())  # pyright: ignore[reportArgumentType]
    cascade_rcnn.save(cascade_rcnn.create_model("cascade_rcnn_fpn", 3, backbone=Backbone()), "own.safetensors")
    return cascade_rcnn.load("own.safetensors", backbone=Backbone())


def loop(model: Detector) -> None:
    dataset = Dataset(cascade_rcnn.load_annotations("train.json"))
    image, target = dataset[0]
    assert_type(target, dict[str, Any])
    losses = model([image], [target])
    torch.stack(list(losses.values())).sum().backward()  # pyright: ignore[reportUnknownMemberType]  of torch's
