"""The command `cascade-rcnn statistics`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cascade_rcnn.text import count


def statistics(
    *,
    checkpoint: Path,
    annotations: Path,
    images: Path | None = None,
    split: str | None = None,
    batch_size: int = 1,
    workers: int = 2,
    device: str | None = None,
    bad_images: Literal["stop", "skip"] = "stop",
    max_megapixels: float = 179,
) -> None:
    """Measure the mean and standard deviation of each stage's regression targets, for use in training.

    Args:
        checkpoint: The model to measure.
        annotations: Ground truth: a COCO json, a VOC folder or ImageSets file, a YOLO data.yaml, or a folder of these.
        images: Folder of the images, if the annotations do not name it.
        split: The split to use, if there are several.
        batch_size: Images per step.
        workers: Number of data loading processes.
        device: cpu, cuda, cuda:1 or mps; default: cuda if available, else cpu.
        bad_images: What to do with unusable images: report them and stop, or skip them.
        max_megapixels: Larger images are unusable.
    """
    from cascade_rcnn.api.statistics import target_statistics

    found = target_statistics(
        checkpoint,
        annotations,
        images=images,
        split=split,
        batch_size=batch_size,
        workers=workers,
        device=device,
        bad_images=bad_images,
        max_megapixels=max_megapixels,
    )
    for t, (mean, std) in enumerate(zip(found.mean, found.std, strict=True), start=1):
        print(
            f"stage {t}: mean {_decimals(mean)}  std {_decimals(std)}  ({count(len(found.deltas[t - 1]), 'positive')})"
        )
    for name, rows in (("means", found.mean), ("stds", found.std)):
        print(f"--options.stage-{name} {' '.join(map(_decimals, rows))}")


def _decimals(row: Sequence[float]) -> str:
    return " ".join(f"{x:.4f}" for x in row)
