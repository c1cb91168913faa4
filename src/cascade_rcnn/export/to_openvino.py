"""Export to OpenVINO (.xml and .bin) from the .onnx file of the same graph."""

from pathlib import Path

from cascade_rcnn.runtime.description import KEY, WEIGHTS, Description
from cascade_rcnn.runtime.sessions import digest


def write(onnx_file: Path, description: Description, path: Path) -> None:
    """Save `path` (.xml) and its weights beside it (.bin); fp16 applies only to the stored weights."""
    import openvino

    model = openvino.convert_model(onnx_file)
    model.set_rt_info(description.to_json(), [KEY])
    half = description.precision == "fp16"
    openvino.save_model(model, path, compress_to_fp16=half)
    model.set_rt_info(digest(path.with_suffix(".bin")), [WEIGHTS])
    openvino.save_model(model, path, compress_to_fp16=half)  # again, now that the weights are known
