"""The command `cascade-rcnn export`."""

from pathlib import Path
from typing import Literal

from cascade_rcnn.commands.parameters import Positional, refuse


def export(
    checkpoint: Positional[Path],
    /,
    *,
    format: Literal["onnx", "torch-export", "openvino", "triton"] = "onnx",  # noqa: A002
    output: Path | None = None,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    dynamic: bool = False,
    size: tuple[int, int] | None = None,
    images: tuple[Path, ...] = (),
    annotations: Path | None = None,
    annotation_images: Path | None = None,
    split: str | None = None,
    bad_images: Literal["stop", "skip"] = "stop",
    calibration: int = 128,
    max_drop: float = 0.02,
) -> None:
    """Export a model for onnxruntime, OpenVINO, torch.export or Triton, and verify that its detections match.

    Args:
        checkpoint: The model.
        format: The output format: .onnx, .pt2 (torch-export), .xml with .bin (openvino), or a model folder (triton).
        output: The file to write; default: the checkpoint's name with the format's suffix.
        precision: Precision of the network. int8 needs --annotations.
        dynamic: Accept batches and images of any size; otherwise, one image at a time, fitted into --size.
        size: Height and width of the input; default: the model's short and long side.
        images: Image files to verify on; default: a photo and generated scenes.
        annotations: Ground truth to measure the AP on, before and after; int8 is calibrated on its images.
        annotation_images: Folder of the annotations' images, if they do not name it.
        split: The split of the annotations, for VOC and YOLO folders.
        bad_images: What to do with unusable images of the annotations: report them and stop, or leave them out.
        calibration: Number of images to calibrate int8 on.
        max_drop: Maximum drop of box and mask AP (0 to 1) with int8.
    """
    if precision != "int8":
        refuse(export, locals(), ("calibration", "max_drop"), f"--precision {precision}")
    from cascade_rcnn.api.export import export_model

    report = export_model(
        checkpoint,
        output,
        format=format,
        precision=precision,
        dynamic=dynamic,
        size=size,
        images=images,
        annotations=annotations,
        annotation_images=annotation_images,
        split=split,
        bad_images=bad_images,
        calibration=calibration,
        max_drop=max_drop,
    )
    print(f"{report.path}: {report.megabytes:.1f} MB, {format}, {precision}")
    print(f"verified: {report.difference}")
    for what, ap in (("AP", report.ap), ("mask AP", report.masks_ap)):
        if ap is not None:
            print(f"{what} {ap[0]:.4f} before, {ap[1]:.4f} after")
