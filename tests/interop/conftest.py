"""What detectron2 and mmdetection computed with small models: `tests/fixtures/peers`, and more next to the clone."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_rcnn.config import ModelConfig, replace
from cascade_rcnn.interop.convert import PEERS
from cascade_rcnn.models.build import build
from cascade_rcnn.models.detector import Detector

PEERS_FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "peers"
WHOLE = Path(__file__).resolve().parents[2] / "../shared/golden"  # wider detectors, and Faster R-CNN
PHOTOS = {"image_rgb": "coffee_192x288", "image0_rgb": "coffee_192x288", "image1_rgb": "astronaut_224x240"}
CASES = {f"{origin}-cascade": PEERS_FOLDER / origin / "cascade_thin" for origin in PEERS if origin != "torchvision"}
CASES["detectron2-mvit"] = PEERS_FOLDER / "detectron2" / "mvit_thin"
if WHOLE.is_dir():
    CASES |= {f"{folder.parent.name}-{folder.name}-whole": folder for folder in sorted(WHOLE.glob("[dm]*/*_thin"))}


@dataclass(frozen=True)
class Peer:
    """A converted model, and what its peer computed."""

    origin: str
    module: ModuleType
    config: ModelConfig
    state: dict[str, Tensor]
    infer: dict[str, Tensor]
    train: dict[str, Tensor]
    names: dict[str, list[str]]  # of the parameters with recorded gradients
    robust: bool  # recorded with weights for which rounding decides nothing

    def build(self, **changes: object) -> Detector:
        """Build the model for images at their own size; `changes` are applied to its config."""
        config = replace(self.config, preprocess=replace(self.config.preprocess, min_size=None))
        model = build(replace(config, **changes))
        model.load_state_dict(self.state, strict=False)
        return model.eval()


def arrays(file: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Return arrays and names of a recording; photos that it omits are in the fixtures' folder."""
    found = dict(np.load(file))
    for name in ("image_rgb",) if file.stem.startswith("infer") else ("image0_rgb", "image1_rgb"):
        if name not in found:
            found[name] = np.array(PIL.Image.open(PEERS_FOLDER / f"{PHOTOS[name]}.png"))
    numbers = {name: torch.from_numpy(value) for name, value in found.items() if value.dtype.kind != "U"}
    return numbers, {name: value.tolist() for name, value in found.items() if value.dtype.kind == "U"}


@cache
def load(folder: Path, weights_file: Path) -> Peer:
    origin = folder.parent.name
    module = PEERS[origin]
    weights = {k: v.float() if v.is_floating_point() else v for k, v in load_file(weights_file).items()}
    (config_file,) = folder.glob("config.*[ly]")  # .yaml or .py
    config, state = module.convert(weights, module.read_settings(config_file, {})[0])
    infer, _ = arrays(next(folder.glob("infer_*.npz")))
    train, names = arrays(folder / "train.npz")
    return Peer(origin, module, config, state, infer, train, names, robust=folder.is_relative_to(PEERS_FOLDER))


@pytest.fixture(params=CASES, scope="session")
def peer(request: pytest.FixtureRequest, peer_weights: dict[str, Path]) -> Peer:
    folder = CASES[request.param]
    held = folder / "weights.safetensors"
    drawn = peer_weights["detectron2, MViTv2" if folder.name == "mvit_thin" else folder.parent.name]
    return load(folder, held if held.exists() else drawn)


@pytest.fixture(scope="session")
def sharp(peer: Peer) -> bool:
    """Return whether the tight tolerances hold: with robust weights, or where convolutions round as for the peer."""
    if peer.robust:
        return True
    model = peer.build()
    with torch.no_grad():
        finest = model.features(model.preprocess([peer.infer["image_rgb"].permute(2, 0, 1)]).pixels)[0]
    held = peer.infer["fpn_p2"]
    step = finest.shape[-1] // held.shape[-1]
    return float((finest[:, :, ::step, ::step] - held).abs().max()) < 3e-5
