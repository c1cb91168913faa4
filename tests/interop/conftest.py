"""What detectron2 and mmdetection computed with small models of theirs, kept in a folder beside the repository."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.interop.convert import PEERS
from cascade_rcnn.models.build import build
from cascade_rcnn.models.detector import Detector

GOLDEN = Path(__file__).resolve().parents[2] / "../shared/golden"
CASES = [(origin, case) for origin in ("detectron2", "mmdet") for case in ("cascade_thin", "faster_thin")]


@dataclass(frozen=True)
class Peer:
    """A converted model, and what its peer computed with it."""

    origin: str
    module: ModuleType
    config: ModelConfig
    state: dict[str, Tensor]
    infer: dict[str, Tensor]
    train: dict[str, Tensor]
    names: dict[str, list[str]]  # of the parameters whose gradients are known

    def build(self, **changes: object) -> Detector:
        """The model, images at their own size; `changes` go to its config."""
        config = replace(self.config, preprocess=replace(self.config.preprocess, min_size=None))
        model = build(replace(config, **changes))
        model.load_state_dict(self.state, strict=False)
        return model.eval()


@cache
def load(origin: str, case: str) -> Peer:
    folder, module = GOLDEN / origin / case, PEERS[origin]
    weights = {
        k: v.float() if v.is_floating_point() else v for k, v in load_file(folder / "weights.safetensors").items()
    }
    config_file = folder / ("config.yaml" if origin == "detectron2" else "config.py")
    config, state = module.convert(weights, module.read_config(config_file))
    infer, train = np.load(folder / "infer_coffee_320x480.npz"), np.load(folder / "train.npz")
    return Peer(
        origin,
        module,
        config,
        state,
        {k: torch.from_numpy(v) for k, v in infer.items()},
        {k: torch.from_numpy(v) for k, v in train.items() if v.dtype.kind != "U"},
        {k: v.tolist() for k, v in train.items() if v.dtype.kind == "U"},
    )


@pytest.fixture(params=CASES, scope="session", ids=lambda case: "-".join(case))
def peer(request: pytest.FixtureRequest) -> Peer:
    if not GOLDEN.exists():
        pytest.skip(f"the peers' outputs are not at {GOLDEN}")
    return load(*request.param)


@pytest.fixture
def golden() -> Path:
    if not GOLDEN.exists():
        pytest.skip(f"the peers' outputs are not at {GOLDEN}")
    return GOLDEN


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Maps this small only wait for one another's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
