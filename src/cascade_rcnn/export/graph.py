"""The exported graph: the whole detector on a dense batch, from pixel values to detections.

B images · D detections
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
import torchvision  # noqa: F401  (for torch.export: the output shapes of its operators)
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from cascade_rcnn.models.detector import Detector
from cascade_rcnn.runtime.runtime import least
from cascade_rcnn.runtime.sessions import outputs


class DetectionGraph(nn.Module):
    """Normalisation, network, cascade and postprocessing, on a copy of the detector optimised for inference."""

    mean: Tensor
    std: Tensor

    def __init__(self, detector: Detector, dtype: torch.dtype = torch.float32) -> None:
        """`dtype` is that of the network's arithmetic; boxes and scores are computed in float32."""
        super().__init__()
        self.detector = deepcopy(detector).for_inference()
        self.extras = outputs(detector.config)[3:]
        self.bgr, self.dtype = detector.config.preprocess.bgr, dtype
        for name, values in (("mean", detector.preprocess.mean), ("std", detector.preprocess.std)):
            self.register_buffer(name, values.clone(), persistent=False)
        heads = (self.detector.roi_heads.heads, self.detector.tasks)
        for part in (self.detector.backbone, self.detector.pyramid, *heads):
            part.to(dtype)
        for layer in self.detector.rpn.children():
            layer.to(dtype)  # leaves out the anchors, which are buffers of the RPN itself

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Detect in images (B, 3, H, W), float32 RGB 0..255, padded with the mean; sizes (B, 2) before padding.

        Returns boxes (B, D, 4) XYXY in pixels of this input, scores (B, D), labels (B, D); label 0 marks empty slots.
        If the model has masks, the fourth output is their probabilities in each box: (B, D, S, S).
        """
        images = images.flip(1) if self.bgr else images
        pixels = ((images - self.mean) / self.std).to(self.dtype).contiguous(memory_format=torch.channels_last)
        found = self.detector.detect(pixels, sizes)
        return (found.boxes, found.scores, found.labels, *(found.extras[name] for name in self.extras))


def capture(graph: DetectionGraph, size: tuple[int, int] | None) -> ExportedProgram:
    """Capture the graph with torch.export, for one image of fixed size (H, W) or, if None, for any B, H and W."""
    dynamic = size is None
    stride = graph.detector.preprocess.divisor  # height and width are multiples of it
    # The example spans several attention windows, some of them incomplete; the graph is then also valid for fewer.
    height, width = (17 * stride, 19 * stride) if size is None else size
    batch = 2 if dynamic else 1
    example = (torch.zeros(batch, 3, height, width), torch.tensor([[height, width]] * batch, dtype=torch.float32))
    shapes = None
    if dynamic:
        steps = least(stride) // stride
        dims = {0: Dim("batch", min=1), 2: stride * Dim("height", min=steps), 3: stride * Dim("width", min=steps)}
        shapes = (dims, {0: dims[0]})
    with torch.no_grad(), quiet():
        return torch.export.export(graph, example, dynamic_shapes=shapes)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the export libraries' own warnings, mostly of deprecations, which do not concern the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
