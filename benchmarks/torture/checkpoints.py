"""Damaged checkpoints: headers, shapes, types and values.

A model that loads must give the good model's detections, or follow the config in its file. A training state that loads
must be bit-identical to the good one.
"""

import io
import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.torture.areas import Case
from benchmarks.torture.equality import identical
from benchmarks.torture.mutations import Random, cut, flip, mutate_bytes, mutate_tree, one
from cascade_rcnn import create_model
from cascade_rcnn.config import Category
from cascade_rcnn.engine.checkpoint import load, save
from cascade_rcnn.engine.training.state import PREVIOUS, STATE, read_state
from cascade_rcnn.models.detector import Detector

_KEY = "cascade_rcnn"
TINY: dict[str, Any] = {
    "pyramid_channels": 8,
    "backbone_width": 8,
    "head_width": 16,
    "anchor_sizes": (8, 16, 32, 64, 128),
    "proposals": 20,
    "rois": 16,
    "min_size": None,
    "score_threshold": 0.05,
}


def tiny_detector() -> Detector:
    """Return a detector for two classes with fixed random weights, which finds something in any image."""
    torch.manual_seed(0)
    categories = (Category(id=1, name="cat"), Category(id=7, name="dog"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return create_model("cascade_rcnn_resnet18_fpn", categories=categories, weights_backbone=None, **TINY).eval()


class Checkpoints:
    """A model file."""

    name = "checkpoints"

    def prepare(self, folder: Path) -> None:
        """Write a good file and run its model."""
        self.path = folder / "good.safetensors"
        save(tiny_detector(), self.path)
        self.data = self.path.read_bytes()
        self.tensors = load_file(self.path)
        with safe_open(self.path, framework="pt") as file:
            self.metadata: dict[str, str] = file.metadata()
        self.image = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(1))
        self.found = _detect(load(self.path), self.image)

    def case(self, random: Random, folder: Path) -> Case:
        """Damage the file in one way."""
        path = folder / "case.safetensors"
        damage = one(
            random, (self._header, self._header, self._config, self._config, self._tensor, self._values, self._cut)
        )
        what, wrong = damage(random, path)

        def run() -> str | None:
            return wrong(load(path))

        return what, run

    def _same(self, model: Detector) -> str | None:
        found = _detect(model, self.image)
        near = all(
            a.shape == b.shape and torch.allclose(a, b, atol=0.05) for a, b in zip(found, self.found, strict=True)
        )
        return None if near else "loads, but gives other detections"

    def _cut(self, random: Random, path: Path) -> tuple[str, Callable]:
        data = cut(random, self.data)
        path.write_bytes(data)
        return f"cut at {len(data)} of {len(self.data)}", self._same

    def _header(self, random: Random, path: Path) -> tuple[str, Callable]:
        """Change bytes of the header, or of the eight bytes that contain its length."""
        length = struct.unpack("<Q", self.data[:8])[0]
        if random.random() < 0.2:
            odd = one(random, (0, 1, length - 1, length + 1, len(self.data), 2**40, 2**63))
            path.write_bytes(struct.pack("<Q", odd) + self.data[8:])
            return f"header length {odd}", self._same
        what, header = mutate_bytes(random, self.data[8 : 8 + length])
        path.write_bytes(struct.pack("<Q", len(header)) + header + self.data[8 + length :])
        return f"header {what}", lambda model: self._as_written(model, path)

    def _config(self, random: Random, path: Path) -> tuple[str, Callable]:
        what, tree = mutate_tree(random, json.loads(self.metadata[_KEY]))
        self._write(path, self.tensors, json.dumps(tree))
        return f"config {what}", lambda model: self._as_written(model, path)

    def _as_written(self, model: Detector, path: Path) -> str | None:
        """Check that the model has the config in the file and runs; with the good config, also its detections."""
        with safe_open(path, framework="pt") as file:
            written = json.loads(file.metadata()[_KEY])
        has = json.loads(model.config.to_json())
        if difference := _contradiction(written, has):
            return f"the file says {difference}"
        found = _detect(model, self.image)
        if not all(bool(torch.isfinite(x).all()) for x in found):
            return "gives boxes that are not finite"
        return self._same(model) if has == json.loads(self.metadata[_KEY]) else _useless(found, self.found, written)

    def _tensor(self, random: Random, path: Path) -> tuple[str, Callable]:
        """Change the type or shape of a tensor, remove it, or add one."""
        name = one(random, sorted(self.tensors))
        tensors, value = dict(self.tensors), self.tensors[name]
        types = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.bool, torch.complex64)
        match one(random, ("type", "type", "shape", "missing", "more")):
            case "type":
                kind = one(random, types)
                what, tensors[name] = f"{name} as {kind}", value.to(kind)
            case "shape":
                reshaped = one(random, (value.flatten(), value[None], value.flatten()[:-1], value.new_zeros(0)))
                what, tensors[name] = f"{name} of shape {tuple(reshaped.shape)}", reshaped
            case "missing":
                what = f"{name} missing"
                del tensors[name]
            case _:
                what, tensors["more.weight"] = "one more", torch.zeros(3)
        self._write(path, tensors, self.metadata[_KEY])
        return what, self._same

    def _values(self, random: Random, path: Path) -> tuple[str, Callable]:
        """Set a number or a whole tensor to a value that training never produces."""
        name = one(random, sorted(name for name, value in self.tensors.items() if value.is_floating_point()))
        odd = one(random, (float("nan"), float("inf"), -float("inf"), 1e30))
        value = self.tensors[name].clone()
        if random.random() < 0.5:
            value.fill_(odd)
        else:
            value.view(-1)[int(random.integers(value.numel()))] = odd
        self._write(path, self.tensors | {name: value}, self.metadata[_KEY])
        return f"{name} holds {odd}", self._same

    def _write(self, path: Path, tensors: dict[str, Tensor], config: str) -> None:
        """Write the file, keeping the rest of the metadata."""
        others = {key: value for key, value in self.metadata.items() if key != _KEY}
        save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata={**others, _KEY: config})


def _detect(model: Detector, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    with torch.inference_mode():
        found = model([image])[0]
    return found["boxes"], found["scores"], found["labels"].double()


def _contradiction(written: Any, has: Any, where: str = "config") -> str | None:
    """Describe the first value in the file that differs in the loaded config; what the file omits has a default."""
    if isinstance(written, dict) and isinstance(has, dict):
        for key, value in written.items():
            if key not in has:
                return f"{where}.{key}, which was dropped"
            if found := _contradiction(value, has[key], f"{where}.{key}"):
                return found
        return None
    if isinstance(written, list) and isinstance(has, list) and len(written) == len(has):
        pairs = enumerate(zip(written, has, strict=True))
        return next((found for i, (a, b) in pairs if (found := _contradiction(a, b, f"{where}.{i}"))), None)
    same = type(written) is not bool and written == has if type(has) is not bool else written is has
    return None if same else f"{where} {written!r:.40}, the model has {has!r:.40}"


def _useless(found: tuple[Tensor, ...], good: tuple[Tensor, ...], written: dict[str, Any]) -> str | None:
    """Say if there are no detections although the good model has some and no threshold explains it."""
    inference = written.get("inference", {})
    asked = inference.get("score_threshold", 0) >= 1 or inference.get("max_detections", 1) == 0
    return "loads, but finds nothing" if len(found[0]) == 0 < len(good[0]) and not asked else None


class States:
    """The state file of a training run, alone or with the state before it."""

    name = "training states"

    def prepare(self, folder: Path) -> None:
        """Create a good state."""
        file = io.BytesIO()
        position = {"epoch": 1, "batch": 0, "step": 6, "evaluated": 6, "best_ap": 0.5, "stale": 0}
        position |= {"seconds": 1.0, "images": 12}
        model = tiny_detector().state_dict()
        self.good = {
            "model": model,
            "averaged": None,
            "optimizer": {"state": {0: {"step": torch.tensor(6.0)}}},
            "precision": {},
            "position": position,
            "random": [{"cpu": torch.get_rng_state()}],
            "data": {"training classes": [2, "a"]},
        }
        torch.save(self.good, file)
        self.data = file.getvalue()

    def case(self, random: Random, folder: Path) -> Case:
        """Change bytes, or remove parts or change their type."""
        path, before = folder / STATE, folder / PREVIOUS
        before.unlink(missing_ok=True)
        if random.random() < 0.3:
            state = dict(self.good)
            part = one(random, sorted(state))
            odd = one(random, (None, [], {}, "x", 3, {"epoch": "1"}))
            if random.random() < 0.5:
                del state[part]
            else:
                state[part] = odd
            torch.save(one(random, (state, state, state, [state], odd)), path)
            return f"{part} = {odd!r} or missing", lambda: self._wrong(read_state(folder)[0], part, odd)
        what, data = one(
            random,
            (
                (cut.__name__, cut(random, self.data)),
                ("flip", flip(random, self.data)),
                mutate_bytes(random, self.data),
            ),
        )
        path.write_bytes(data)
        if random.random() < 0.3:
            before.write_bytes(self.data)
            what += ", with an intact state before it"
        return what, lambda: None if identical(read_state(folder)[0], self.good) else "another state was read"

    def _wrong(self, state: dict[str, Any], part: str, odd: Any) -> str | None:
        """Check a state with an odd part, which may be read if restoring refuses it, but not if the part is missing."""
        if part not in state:
            return f"read without {part}"
        same = part != "position" or identical(state[part], self.good[part])
        return None if same else "read with an odd position"
