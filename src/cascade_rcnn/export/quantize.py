"""Post-training quantization to int8 with nncf, calibrated on real images."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx

from cascade_rcnn.export.graph import quiet
from cascade_rcnn.runtime.sessions import INPUTS

_SCOPES = "pkg.torch.onnx.name_scopes"
_LAYERS = re.compile(
    r"'detector\.(backbone|pyramid|rpn\.conv|roi_heads\.heads\.\d+\.(fc\d+|conv\d*)|tasks\.\d+\.heads\.\d+\.conv\d*)\b"
)


def quantize(path: Path, inputs: Iterable[tuple[np.ndarray, np.ndarray]], number: int, output: Path) -> None:
    """Quantize an fp32 .onnx file to int8; `inputs` are `number` values of the graph's `images` and `sizes`.

    Hidden convolutions and fully connected layers become int8. The output layers for scores and deltas stay in float32
    (they are small, and in int8 they would cost a tenth of the AP), as do the decoding of boxes and the gathers of
    RoIAlign, since pixel coordinates need more than 8 bits.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    model = onnx.load(path)
    _constants_of_casts(model.graph)
    kept = [node.name for node in model.graph.node if not _in_a_layer(node)]
    dataset = nncf.Dataset(dict(zip(INPUTS, pair, strict=True)) for pair in inputs)
    with quiet():
        quantized = nncf.quantize(
            model,
            dataset,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=number,  # by default, only the first 300
            fast_bias_correction=True,
            ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
        )
    onnx.helper.set_model_props(quantized, {p.key: p.value for p in model.metadata_props})
    onnx.save(quantized, output)


def _constants_of_casts(graph: onnx.GraphProto) -> None:
    """Turn weights that are cast, such as Swin's masks, into Constant nodes: nncf fails on casts of initializers."""
    cast = {node.input[0] for node in graph.node if node.op_type == "Cast"}
    for weight in [one for one in graph.initializer if one.name in cast]:
        graph.initializer.remove(weight)
        graph.node.insert(
            0, onnx.helper.make_node("Constant", [], [weight.name], f"constant_{weight.name}", value=weight)
        )


def _in_a_layer(node: onnx.NodeProto) -> bool:
    """Return whether a node belongs to a hidden layer of the network."""
    text = next((p.value for p in node.metadata_props if p.key == _SCOPES), "")
    return _LAYERS.search(text) is not None
