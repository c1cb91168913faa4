"""Figure 3: the four architectures, derived from the configs of their models."""

from dataclasses import asdict, dataclass
from typing import Any

from cascade_rcnn.config import Category, ModelConfig, ModelOptions
from cascade_rcnn.models.configure import model_config

METHODS = {
    "faster_rcnn": "(a) Faster R-CNN",
    "iterative_bbox": "(b) iterative BBox, at test",
    "integral_loss": "(c) integral loss",
    "cascade_rcnn": "(d) Cascade R-CNN",
}
_BACKBONE = "resnet50_fpn"  # any backbone will do, since the figure shows only what follows it


@dataclass(frozen=True, kw_only=True)
class Column:
    """A head on pooled features, with its classifiers and its regressor; the RPN, H0, uses its own features."""

    head: str
    classifiers: tuple[str, ...]
    regressor: str
    ious: tuple[float, ...] = ()  # u of each classifier; empty for the RPN


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A panel of the figure. Each column pools features from the boxes of the previous column's regressor."""

    title: str
    columns: tuple[Column, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def architectures() -> list[Architecture]:
    """Return the paper's four architectures, with the stages that their models have by default."""
    return [
        architecture(model_config(f"{name}_{_BACKBONE}", (Category(),), ModelOptions(), pretrained=False), title)
        for name, title in METHODS.items()
    ]


def architecture(config: ModelConfig, title: str) -> Architecture:
    """Derive an architecture from a config; parts that are shared by several columns have the same name."""
    first = Column(head="H0", classifiers=("C0",), regressor="B0")
    if config.method == "integral":
        classifiers = tuple(f"C{t}" for t in range(1, len(config.stages) + 1))
        ious = tuple(stage.iou for stage in config.stages)
        return Architecture(
            title=title, columns=(first, Column(head="H1", classifiers=classifiers, regressor="B1", ious=ious))
        )
    repeated = config.method == "iterative"
    numbers = [1 if repeated else t for t in range(1, len(config.stages) + 1)]
    later = (
        Column(head=f"H{t}", classifiers=(f"C{t}",), regressor=f"B{t}", ious=(stage.iou,))
        for t, stage in zip(numbers, config.stages, strict=True)
    )
    return Architecture(title=title, columns=(first, *later))
