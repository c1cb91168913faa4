"""A model folder for NVIDIA's Triton Inference Server: `1/model.onnx` and a `config.pbtxt` written from its graph."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_TYPES = {1: "TYPE_FP32", 7: "TYPE_INT64"}  # by their numbers in ONNX
_LARGEST_BATCH = 8  # of requests that Triton joins; only images of the same padded size are joined
_DELAY = 2000  # microseconds that a request waits for others


def model_file(folder: Path) -> Path:
    """Return the path of the ONNX file in a model folder, as version 1."""
    return folder / "1" / "model.onnx"


def config(name: str, path: Path) -> str:
    """Return Triton's config (model_config.proto, as text) of an exported .onnx file.

    Files for any batch size are batched dynamically, and their dimensions leave out the batch. Others take one image,
    which their dimensions say.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    batched = not graph.input[0].type.tensor_type.shape.dim[0].dim_value
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {_LARGEST_BATCH if batched else 0}"]
    lines += _tensors("input", graph.input, batched)
    lines += _tensors("output", graph.output, batched)
    lines += ["instance_group [", "  { count: 1, kind: KIND_AUTO }", "]"]
    if batched:
        lines += [f"dynamic_batching {{ max_queue_delay_microseconds: {_DELAY} }}"]
    return "\n".join(lines) + "\n"


def _tensors(kind: str, values: "Iterable[onnx.ValueInfoProto]", batched: bool) -> list[str]:
    """Return the config's entries of inputs or outputs; -1 is a dimension of any size."""
    entries = []
    for value in values:
        tensor = value.type.tensor_type
        sizes = [dim.dim_value or -1 for dim in tensor.shape.dim][1 if batched else 0 :]
        dims = ", ".join(map(str, sizes))
        entries.append(f'  {{ name: "{value.name}", data_type: {_TYPES[tensor.elem_type]}, dims: [ {dims} ] }}')
    return [f"{kind} [", ",\n".join(entries), "]"]
