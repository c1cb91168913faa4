"""Export to .onnx, with translations of the operators that ONNX lacks to standard ones.

B images · N boxes · G groups
"""

from pathlib import Path
from typing import Any

import onnx
import torch
from onnx_ir.passes.common import CommonSubexpressionEliminationPass
from onnxscript import opset18, optimizer
from torch.export import ExportedProgram

from cascade_rcnn import nms
from cascade_rcnn.export.graph import quiet
from cascade_rcnn.models import weighted_sum
from cascade_rcnn.runtime.description import KEY, Description
from cascade_rcnn.runtime.sessions import INPUTS, outputs

_OPSET = 18
op: Any = opset18  # its types cannot express that operators take each other's outputs
_NEVER = -3e38  # below the score of any box


def write(program: ExportedProgram, description: Description, path: Path) -> None:
    """Save the program as a single file."""
    with quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            optimize=False,  # would take most of the time, and engines have their own optimizers
            opset_version=_OPSET,
            custom_translation_table=_TRANSLATIONS,
            input_names=list(INPUTS),
            output_names=list(outputs(description.config)),
        )
    assert made is not None
    optimizer.fold_constants(made.model, onnx_shape_inference=False)
    optimizer.remove_unused_nodes(made.model)
    CommonSubexpressionEliminationPass()(made.model)
    model = made.model_proto
    for node in model.graph.node:
        # Keep the names of modules, but not source lines and local paths.
        scopes = [p for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"]
        del node.metadata_props[:]
        node.metadata_props.extend(scopes)
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    model.producer_name, model.domain, model.model_version = "cascade-rcnn", "cascade_rcnn", 1
    _name_dims(model.graph)
    onnx.helper.set_model_props(model, {KEY: description.to_json()})
    onnx.save(model, path)


def _name_dims(graph: onnx.GraphProto) -> None:
    """Name the dynamic dimensions of inputs and outputs: batch, height and width."""
    for value in (*graph.input, *graph.output):
        names = ("batch", "channels", "height", "width") if value.name == INPUTS[0] else ("batch",)
        for dim, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            if not dim.dim_value:
                dim.dim_param = name


def _keep_mask(boxes: Any, scores: Any, groups: Any, valid: Any, iou: float) -> Any:
    """Translate `nms.keep_mask` to ONNX's operator, which separates images and classes itself."""
    number = op.Add(op.ReduceMax(groups, keepdims=0), op.Constant(value_int=1))
    group = op.Range(op.Constant(value_int=0), number, op.Constant(value_int=1))
    member = op.Equal(_unsqueeze(groups, 1), op.Unsqueeze(group, op.Constant(value_ints=[0, 2])))  # (B, G, N)
    real = op.And(member, _unsqueeze(valid, 1))
    never = op.Constant(value_float=_NEVER)
    selected = op.NonMaxSuppression(
        op.Where(_unsqueeze(valid, 2), boxes, op.Constant(value_float=0.0)),
        op.Where(real, _unsqueeze(scores, 1), never),
        op.Shape(boxes, start=1, end=2),
        op.Constant(value_floats=[float(iou)]),
        op.Constant(value_floats=[_NEVER / 2]),
    )
    place = op.Gather(selected, op.Constant(value_ints=[0, 2]), axis=1)  # image and box of each survivor
    ones = op.Expand(op.Constant(value_int=1), op.Shape(place, start=0, end=1))
    kept = op.ScatterND(op.Expand(op.Constant(value_int=0), op.Shape(valid)), place, ones)
    return op.And(op.Cast(kept, to=onnx.TensorProto.BOOL), valid)


def _weighted_sum(index: Any, table: Any, weight: Any) -> Any:
    """Translate `weighted_sum` to n gathers; a single one would need n times the memory of the result."""
    total = None
    for k in range(index.shape[1]):
        row = op.Gather(index, op.Constant(value_int=k), axis=1)
        share = op.Gather(weight, op.Constant(value_ints=[k]), axis=1)
        part = op.Mul(op.Gather(table, row, axis=0), share)
        total = part if total is None else op.Add(total, part)
    return total


def _roi_align(features: Any, rois: Any, scale: float, height: int, width: int, sampling: int, aligned: bool) -> Any:
    """Translate torchvision's `roi_align`; ONNX takes image indices separately from boxes."""
    image = op.Cast(op.Gather(rois, op.Constant(value_int=0), axis=1), to=onnx.TensorProto.INT64)
    boxes = op.Gather(rois, op.Constant(value_ints=[1, 2, 3, 4]), axis=1)
    pooled = op.RoiAlign(
        features,
        boxes,
        image,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        output_height=height,
        output_width=width,
        sampling_ratio=max(sampling, 0),
        spatial_scale=scale,
    )
    if not aligned or sampling > 0:
        return pooled
    # An empty box has no sampling point: torchvision returns 0, but OpenVINO divides by their number.
    low, high = (op.Gather(boxes, op.Constant(value_ints=axes), axis=1) for axes in ([0, 1], [2, 3]))
    side = op.ReduceMin(op.Sub(high, low), op.Constant(value_ints=[1]), keepdims=1)
    filled = op.Unsqueeze(op.Greater(side, op.Constant(value_float=0.0)), op.Constant(value_ints=[2, 3]))
    return op.Where(filled, pooled, op.Constant(value_float=0.0))


def _deform_conv2d(x: Any, weight: Any, offset: Any, mask: Any, bias: Any, *geometry: int) -> Any:
    """Translate torchvision's `deform_conv2d` to GridSample and a 1x1 convolution: not all engines have DeformConv."""
    *steps, groups, parts, masked = geometry  # stride, padding, dilation (each of rows, columns)
    outputs, channels, rows, columns = weight.shape
    taps = rows * columns
    height, width = (op.Shape(offset, start=axis, end=axis + 1) for axis in (2, 3))
    apart = _reshape(offset, -1, taps, 2, height, width)  # (B parts, K, 2, H', W')
    sizes, places = (op.Shape(x, start=axis, end=axis + 1) for axis in (3, 2)), []
    for axis, size in zip((1, 0), sizes, strict=True):  # x, then y, as a grid has them
        stride, padding, dilation = steps[axis::2]
        start = op.Mul(_range((height, width)[axis]), op.Constant(value_float=float(stride)))
        taken = [k % columns if axis else k // columns for k in range(taps)]
        moved = op.Constant(value_floats=[float(k * dilation - padding) for k in taken])
        at = op.Add(_reshape(moved, 1, taps, 1, 1), _reshape(start, 1, 1, *((1, -1) if axis else (-1, 1))))
        at = op.Add(op.Gather(apart, op.Constant(value_int=axis), axis=2), at)
        at = op.Div(op.Add(op.Mul(at, op.Constant(value_float=2.0)), op.Constant(value_float=1.0)), _float(size))
        places.append(_unsqueeze(op.Sub(at, op.Constant(value_float=1.0)), 4))
    grid = _reshape(op.Concat(*places, axis=4), op.Shape(apart, start=0, end=1), -1, width, 2)
    whole = _reshape(x, -1, channels * groups // parts, op.Shape(x, start=2, end=3), op.Shape(x, start=3, end=4))
    sampled = op.GridSample(whole, grid, align_corners=0, mode="bilinear", padding_mode="zeros")
    if masked:
        sampled = op.Mul(sampled, _reshape(mask, op.Shape(apart, start=0, end=1), 1, -1, width))
    sampled = _reshape(sampled, -1, channels * groups * taps, height, width)
    kernel = _reshape(weight, outputs, channels * taps, 1, 1)
    return op.Conv(sampled, kernel, bias, group=groups, kernel_shape=[1, 1])


def _reshape(value: Any, *shape: Any) -> Any:
    """Reshape a value to sizes that are numbers or one-element shapes."""
    return op.Reshape(
        value, op.Concat(*(op.Constant(value_ints=[s]) if isinstance(s, int) else s for s in shape), axis=0)
    )


def _range(length: Any) -> Any:
    """Return 0, 1, ..., length - 1 as floats, for a length given as a one-element shape."""
    return _float(op.Range(op.Constant(value_int=0), op.Squeeze(length), op.Constant(value_int=1)))


def _float(value: Any) -> Any:
    return op.Cast(value, to=onnx.TensorProto.FLOAT)


def _unsqueeze(value: Any, axis: int) -> Any:
    return op.Unsqueeze(value, op.Constant(value_ints=[axis]))


_TRANSLATIONS: dict[Any, Any] = {
    nms.OPERATOR: _keep_mask,
    weighted_sum.OPERATOR: _weighted_sum,
    torch.ops.torchvision.roi_align.default: _roi_align,
    torch.ops.torchvision.deform_conv2d.default: _deform_conv2d,
}
