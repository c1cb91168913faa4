"""Diagnosis of the installation: it runs the compiled operators and explains how to fix what is broken.

This module does not import others that need torchvision, since that import may fail.
"""

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

from cascade_rcnn.errors import reason

_PACKAGES = ("cascade-rcnn", "torch", "torchvision", "lightning-fabric", "hotcoco", "supervision", "numpy", "pillow")
_REINSTALL = (
    "torch and torchvision are different builds. Reinstall both together, from one index:\n"
    "    pip uninstall -y torch torchvision && pip install torch torchvision\n"
    "    (for a CPU-only pair add --index-url with PyTorch's cpu index to the second command)"
)


def examine() -> tuple[list[str], list[str]]:
    """Return lines to print, and advice on everything that is broken (an empty list if nothing is)."""
    lines = [f"python {platform.python_version()} on {platform.platform()}"]
    advice = []
    for package in _PACKAGES:
        try:
            lines.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package} MISSING")
            advice.append(f"{package} is not installed: pip install {package}")
    for name, check in _checks():
        try:
            lines.append(f"{name}: {check()}")
        except Exception as error:  # noqa: BLE001  any error is worth showing
            lines.append(f"{name}: FAILED ({reason(error)})")
            advice.append(_advice(name, str(error)))
    return lines, list(dict.fromkeys(advice))


def _checks() -> Iterator[tuple[str, Callable[[], str]]]:
    yield "import torch", lambda: __import__("torch").__version__
    yield "import torchvision", lambda: __import__("torchvision").__version__
    yield "operators on cpu", lambda: _operators("cpu")
    yield "masks", _masks
    yield "gpu", _gpu


def _operators(device: str) -> str:
    import torch
    from torchvision.ops import nms, roi_align

    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 11.0, 11.0], [20.0, 20.0, 30.0, 30.0]], device=device)
    kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), 0.5).tolist()
    pooled = roi_align(torch.ones(1, 1, 32, 32, device=device), [boxes], 2, aligned=True)
    if kept != [0, 2] or not torch.allclose(pooled, torch.ones_like(pooled)):
        raise RuntimeError("nms or roi_align returns wrong results")
    return "nms and roi_align return correct results"


def _masks() -> str:
    import numpy as np
    from hotcoco import mask as library

    from cascade_rcnn import rle

    mask = np.zeros((10, 12), dtype=bool)
    mask[2:6, 3:8] = True
    runs = rle.of_mask(mask)
    if library.area([runs])[0] != 20 or not np.array_equal(library.decode(runs), mask):
        raise RuntimeError("hotcoco decodes run lengths incorrectly")
    return "run lengths are encoded and decoded correctly"


def _gpu() -> str:
    import torch

    if torch.backends.mps.is_available():
        return "Apple's, which is used on request: --accelerator mps, or --device mps"
    if not torch.cuda.is_available():
        return "none that torch can use; training works on the CPU, but is slow"
    bf16 = "with" if torch.cuda.is_bf16_supported() else "without"
    return f"{torch.cuda.get_device_name()}, {bf16} bf16; {_operators('cuda')}"


def _advice(name: str, error: str) -> str:
    if "torchvision::" in error or "undefined symbol" in error or name in ("import torchvision", "operators on cpu"):
        return _REINSTALL
    if name == "masks":
        return "evaluation of masks does not work: pip install --force-reinstall hotcoco numpy"
    if name == "gpu":
        return "the GPU does not work with this torch: check `nvidia-smi`, and that the driver fits torch's CUDA"
    return "reinstall torch: pip install --force-reinstall torch torchvision"
