"""Inference engines: one function per format, which returns a file's description and a function that runs its graph.

B images · D detections · S pixels per side of a mask
"""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

import numpy as np

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.runtime.description import KEY, WEIGHTS, Description
from cascade_rcnn.text_files import LFS, is_lfs_pointer

# images (B, 3, H, W) float32, sizes (B, 2) float32 -> boxes (B, D, 4), scores (B, D), labels (B, D) and, if the model
# has masks, masks (B, D, S, S)
Run: TypeAlias = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]

INPUTS = ("images", "sizes")


def outputs(config: ModelConfig) -> tuple[str, ...]:
    """Return the names of a graph's outputs, in order."""
    return ("boxes", "scores", "labels", *(["masks"] if config.has_masks else []))


def _onnx(path: Path, threads: int | None) -> tuple[Description, Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    if threads is not None:
        options.intra_op_num_threads = threads
    known = onnxruntime.get_available_providers()
    providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in known]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    metadata = session.get_modelmeta().custom_metadata_map

    description = Description.from_json(metadata.get(KEY), path)
    names = outputs(description.config)

    def run(images: np.ndarray, sizes: np.ndarray) -> Any:
        return session.run(names, dict(zip(INPUTS, (images, sizes), strict=True)))

    return description, run


def _openvino(path: Path, threads: int | None) -> tuple[Description, Run]:
    import openvino

    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise UserError(f"{path}: its weights are missing; put {weights.name} beside it")
    core = openvino.Core()
    model = core.read_model(path)
    if model.has_rt_info(WEIGHTS) and model.get_rt_info(WEIGHTS).astype(str) != digest(weights):
        raise UserError(f"{path}: {weights.name} beside it has the weights of another export; copy both files again")
    text = model.get_rt_info(KEY).astype(str) if model.has_rt_info(KEY) else None
    # Some processors would choose bf16 by default; the file defines the precision.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(model, "CPU", settings)
    request, lock = compiled.create_infer_request(), Lock()  # a request refuses a second thread

    description = Description.from_json(text, path)
    names = outputs(description.config)

    def run(images: np.ndarray, sizes: np.ndarray) -> Any:
        with lock:
            found = request.infer(dict(zip(INPUTS, (images, sizes), strict=True)))
            return tuple(np.array(found[name]) for name in names)

    return description, run


def digest(weights: Path) -> str:
    """Return the SHA-256 of the weights beside an OpenVINO file: those of another export would also load."""
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _torch_export(path: Path, threads: int | None) -> tuple[Description, Run]:
    import torch
    import torchvision  # noqa: F401  (its operators are in the graph)

    if threads is not None:
        torch.set_num_threads(threads)
    text = {KEY: ""}
    # Guards assert the example's memory layout, which other sizes need not share. The dtype of the inputs and multiples
    # of the stride are checked nevertheless, and exports are verified on several sizes.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given buffer is not writable")  # of torch 2.11's own code
        module = torch.export.load(path, extra_files=text).module(check_guards=False)

    def run(images: np.ndarray, sizes: np.ndarray) -> Any:
        with torch.inference_mode():
            return tuple(x.numpy() for x in module(torch.from_numpy(images), torch.from_numpy(sizes)))

    return Description.from_json(text[KEY], path), run


_OPENERS = {
    ".onnx": (_onnx, "onnxruntime"),
    ".xml": (_openvino, "openvino"),
    ".pt2": (_torch_export, "torch torchvision"),
}
SUFFIXES = tuple(_OPENERS)


def is_exported(path: str | Path) -> bool:
    """Return whether a path has the suffix of an exported file, in lower or upper case."""
    return Path(path).suffix.lower() in _OPENERS


def open_session(path: Path, threads: int | None = None, *, trust: bool = False) -> tuple[Description, Run]:
    """Load an exported file. Raises UserError if it is missing, damaged or foreign, or its engine is not installed.

    Opening a .pt2 file can run arbitrary code: torch unpickles parts of it, evaluates strings and loads libraries from
    it. Therefore it needs `trust`. .onnx and .xml files are only data.
    """
    if not is_exported(path):
        raise UserError(f"{path}: not an exported model, whose suffix is one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    suffix = path.suffix.lower()
    if suffix == ".pt2" and not trust:
        raise UserError(
            f"{path}: a .pt2 file is a program, and opening it can run arbitrary code; use .onnx or .xml, which are "
            "data or, if you trust its author, `predict`, `evaluate` or `serve` with --trust (in Python: trust=True)"
        )
    opener, packages = _OPENERS[suffix]
    try:
        _check_pointers(path)
        return opener(path, threads)
    except ImportError as error:
        raise UserError(f"{path}: needs {packages} ({error}); pip install {packages}") from None
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  each engine has its own errors for unreadable files
        raise UserError(f"{path}: not a readable exported model ({reason(error)}); export it again") from None


def _check_pointers(path: Path) -> None:
    """Raise UserError if the file, or that of its weights, is only a pointer of Git LFS."""
    weights = [path.with_suffix(".bin")] if path.suffix.lower() == ".xml" else []
    for one in filter(Path.is_file, [path, *weights]):
        with one.open("rb") as file:
            if is_lfs_pointer(file.read(64)):
                raise UserError(f"{one}: {LFS}")
