"""The peers' backbones: their tensors and settings give the same maps and gradients."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade_rcnn.interop import backbones, layout, mmdet
from cascade_rcnn.interop.python_config import Settings
from cascade_rcnn.interop.renaming import relaid, rename
from cascade_rcnn.models.build import build_backbone

FOLDER = Path(__file__).parents[1] / "fixtures" / "peers"
RECORDER = runpy.run_path(str(FOLDER / "backbones.py")) if FOLDER.is_dir() else {"CASES": {}}
WIDE = {"resnest"}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case in WIDE)) for case in RECORDER["CASES"]]
)
def test_mmdet(case):
    settings = RECORDER["CASES"][case]
    if settings["type"] == "ResNeSt":
        pytest.importorskip("timm")
    with np.load(FOLDER / "mmdet" / "backbones" / f"{case}.npz") as held:
        recorded = {key: held[key] for key in held.files}
    shapes = json.loads(str(recorded["shapes"]))
    state = {f"backbone.{name}": torch.from_numpy(RECORDER["fill"](name, tuple(shapes[name]))) for name in shapes}
    family, ours = layout.our_names("mmdet", state, mmdet.NAMES, mmdet.IGNORED)
    peer = family.peers["mmdet"]
    assert backbones.mmdet_type(settings["type"]) is peer
    model = build_backbone(peer.complete(family.describe(ours), Settings({"model": {"backbone": settings}}))).double()
    own = {name.removeprefix("backbone."): tensor for name, tensor in relaid(ours, None, peer.layout_in).items()}  # type: ignore[arg-type]
    assert own.keys() == {name for name in model.state_dict() if not name.endswith("num_batches_tracked")}
    model.load_state_dict(own, strict=False)

    maps = model.eval().requires_grad_(True)(torch.from_numpy(RECORDER["pixels"]()))
    torch.stack([x.square().mean() for x in maps]).sum().backward()
    for k, found in enumerate(maps):
        values = found.detach().contiguous().flatten()[:: RECORDER["THINNED"]].float()
        torch.testing.assert_close(values, torch.from_numpy(recorded[f"map{k}"]), rtol=1e-5, atol=1e-6)
    gradients = {rename(f"backbone.{name}", peer.names): p.grad for name, p in model.named_parameters()}
    for name, norm in zip(recorded["names"], recorded["norms"], strict=True):
        assert float(gradients[f"backbone.{name}"].norm()) == pytest.approx(norm, rel=1e-4, abs=1e-9), name
