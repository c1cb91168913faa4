"""int8 by nncf: post-training quantization of the network's layers, calibrated on real images."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx

from cascade_rcnn.export.graph import quiet
from cascade_rcnn.runtime.sessions import INPUTS

_SCOPES = "pkg.torch.onnx.name_scopes"
_LAYERS = ("backbone", "pyramid", "rpn.conv", "rpn.objectness", "rpn.deltas", "roi_heads.heads")


def quantize(path: Path, inputs: Iterable[tuple[np.ndarray, np.ndarray]], output: Path) -> None:
    """Rewrite an fp32 .onnx file in int8; `inputs` are the graph's `images` and `sizes`.

    Convolutions and fully connected layers become int8. Everything between them that computes boxes, and the gathers
    of RoIAlign, stay in float32: pixels do not survive 8 bits.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    model = onnx.load(path)
    kept = [node.name for node in model.graph.node if not _in_a_layer(node)]
    dataset = nncf.Dataset(dict(zip(INPUTS, pair, strict=True)) for pair in inputs)
    with quiet():
        quantized = nncf.quantize(
            model,
            dataset,
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=True,
            ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
        )
    onnx.helper.set_model_props(quantized, {p.key: p.value for p in model.metadata_props})
    onnx.save(quantized, output)


def _in_a_layer(node: onnx.NodeProto) -> bool:
    """The node computes a layer of the network, not a box."""
    text = next((p.value for p in node.metadata_props if p.key == _SCOPES), "")
    return any(f"detector.{layer}" in text for layer in _LAYERS)
