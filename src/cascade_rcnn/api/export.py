"""Export of checkpoints for onnxruntime, OpenVINO, torch.export and Triton."""

from collections.abc import Sequence
from pathlib import Path

from cascade_rcnn.api.notes import tell
from cascade_rcnn.arguments import as_list, as_path, check_choice, converted
from cascade_rcnn.data import check_images, load_annotations
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.data.load import check_only_of_files
from cascade_rcnn.export.export import SUFFIX, Format, Report, Request, export
from cascade_rcnn.models.checkpoint import read_config
from cascade_rcnn.outputs import check_outputs
from cascade_rcnn.runtime.description import ExportPrecision


def export_model(
    checkpoint: str | Path,
    output: str | Path | None = None,
    *,
    format: Format = "onnx",  # noqa: A002
    precision: ExportPrecision = "fp32",
    dynamic: bool = False,
    size: tuple[int, int] | None = None,
    images: Sequence[str | Path] = (),
    annotations: str | Path | None = None,
    annotation_images: str | Path | None = None,
    split: str | None = None,
    bad_images: BadImages = "stop",
    calibration: int = 128,
    max_drop: float = 0.02,
) -> Report:
    """Export a model for onnxruntime ("onnx"), OpenVINO, torch ("torch-export") or Triton, and verify its detections.

    `output` defaults to the checkpoint's name with the format's suffix; for Triton, it is a folder. A `dynamic` file
    accepts batches and images of any size; otherwise, it takes one image at a time, fitted into `size` (height and
    width in pixels; default: the model's short and long side). The exported file is compared with the checkpoint on
    `images` (default: a photo and generated scenes). If `annotations` are given (with `annotation_images`, `split` and
    `bad_images` as in `evaluate`), the AP of boxes, and of masks if there are any, is measured before and after. int8
    requires them: it is calibrated on `calibration` of their images, and each AP may drop by at most `max_drop` (0 to
    1). Raises UserError, without writing a file, if the detections do not match or the AP drops further.

    >>> report = export_model("starter", "exported.pt2", format="torch-export", size=(160, 160))
    >>> report.path.name, report.difference.missing
    ('exported.pt2', 0)
    """
    check_choice("format", format, SUFFIX)
    check_only_of_files(annotations, annotation_images=annotation_images, split=split)
    file = as_path("checkpoint", checkpoint)
    if file.is_file():
        read_config(file)  # says if it is an exported file, before this would be found to be replaced
    if output is None:  # the name of a published detector may contain dots and slashes
        output = file.with_suffix(SUFFIX[format]) if file.is_file() else Path(file.name + SUFFIX[format])
    output, images = as_path("output", output), as_list("images", images)
    if format != "triton":  # whose folder must not exist
        weights = output.parent / f"{output.stem}.bin" if format == "openvino" else None
        check_outputs([output, weights], [checkpoint, annotations, *images])
    validation = None
    if annotations is not None:
        config = read_config(checkpoint)
        known = load_annotations(
            *(annotations, annotation_images, split, config.class_names),
            masks=config.has_masks,
            bad_images=bad_images,
        )
        validation = check_images(known, bad_images=bad_images, decode=bad_images == "skip")
        tell(validation.notes)
    request = Request(
        format=format,
        precision=precision,
        dynamic=dynamic,
        size=None if size is None else converted("size", size, tuple[int, int]),
        images=tuple(Path(path) for path in images),
        validation=validation,
        calibration=calibration,
        max_drop=max_drop,
    )
    return export(file, output, request)
