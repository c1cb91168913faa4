"""Masks equal those of detectron2 (one head) and mmdetection (one per stage): in boxes, pasted, losses and gradients.

They are computed on the boxes that the peers found; torchvision's are computed next to ours in `test_torchvision.py`.
"""

import json
import runpy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_rcnn.config import replace
from cascade_rcnn.interop.convert import PEERS, names_at
from cascade_rcnn.interop.renaming import rename
from cascade_rcnn.models.build import build
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.pasting import paste
from cascade_rcnn.structures import Detections, Proposals

PHOTOS = ("coffee_192x288", "astronaut_224x240")


@dataclass(frozen=True)
class Recorded:
    """A converted model, and what its peer computed."""

    origin: str
    model: Detector
    held: dict[str, Tensor]
    names: list[str]  # of the parameters with recorded gradients
    boxes: dict[str, Tensor]  # the peer's detections
    images: list[Tensor]
    targets: list[dict[str, Tensor]]
    proposals: list[Tensor]


@pytest.fixture(scope="module", params=["detectron2", "mmdet"])
def recorded(request: pytest.FixtureRequest, peers_folder: Path, peer_weights: dict[str, Path]) -> Recorded:
    origin, weights = request.param, runpy.run_path(str(peers_folder / "weights.py"))
    folder, module = peers_folder / origin / "cascade_mask_thin", PEERS[origin]
    with np.load(folder / "masks.npz") as file:
        shapes, seed, names = json.loads(str(file["shapes"])), int(file["seed"]), file["gradnorm_names"].tolist()
        held = {name: torch.from_numpy(file[name]) for name in file.files if file[name].dtype.kind != "U"}
    drawn = {name: torch.from_numpy(x) for name, x in weights["mask_weights"](shapes, seed).items()}
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(peer_weights[origin]).items()} | drawn
    (config_file,) = folder.glob("config.*")
    config, state = module.convert(state, module.read_settings(config_file, {})[0])
    config = replace(
        config,
        preprocess=replace(config.preprocess, min_size=None),
        sampling=replace(config.sampling, rois=4096, positive_fraction=1.0),
    )
    model = build(config)
    model.load_state_dict(state, strict=False)
    with np.load(peers_folder / origin / "cascade_thin" / "infer_coffee_192x288.npz") as file:
        boxes = {name: torch.from_numpy(file[f"final_{name}"]) for name in ("boxes", "scores", "labels")}
    photos = [np.array(PIL.Image.open(peers_folder / f"{photo}.png")) for photo in PHOTOS]
    with np.load(peers_folder / "train_inputs.npz") as file:
        targets = [
            {
                "boxes": torch.from_numpy(file[f"gt_boxes{i}"]),
                "labels": torch.from_numpy(file[f"gt_labels{i}"]) + 1,
                "masks": torch.from_numpy(weights["ellipses"](file[f"gt_boxes{i}"], *photo.shape[:2])),
            }
            for i, photo in enumerate(photos)
        ]
        proposals = [torch.from_numpy(file[f"proposals{i}"]) for i in (0, 1)]
    images = [torch.from_numpy(photo).permute(2, 0, 1) for photo in photos]
    return Recorded(origin, model.eval(), held, names, boxes, images, targets, proposals)


def unpacked(bits: Tensor, height: int, width: int) -> Tensor:
    """Unpack bits into (N, H, W) bool."""
    flat = np.unpackbits(bits.numpy(), axis=1)[:, : height * width]
    return torch.from_numpy(flat.astype(np.bool_)).unflatten(1, (height, width))


@torch.no_grad()
def test_probabilities_in_each_box(recorded):
    model, boxes = recorded.model, recorded.boxes
    batch = model.preprocess(recorded.images[:1])
    labels = boxes["labels"][None] + 1
    given = Detections(boxes["boxes"][None], boxes["scores"][None], labels, labels > 0)
    found = model.tasks[0](model.features(batch.pixels), given).extras["masks"][0]
    assert len(model.tasks[0].heads) == (1 if recorded.origin == "detectron2" else 3)
    expected = recorded.held["probabilities"]
    assert float(expected.std()) > 0.05
    assert float((found[: len(expected)] - expected).abs().max()) < 1e-3
    assert float((found.mean((1, 2)) - recorded.held["probability_means"]).abs().max()) < 3e-4
    close_to(paste(found, boxes["boxes"], 192, 288), unpacked(recorded.held["pasted"], 192, 288), margin=2e-3)


def close_to(pasted: Tensor, expected: Tensor, margin: float) -> None:
    """Check that pixels are equal, except where a probability is within the margin of a half."""
    assert 0.005 < float(expected.float().mean()) < 0.9
    assert not ((pasted >= 0.5) != expected)[(pasted - 0.5).abs() > margin].any()


def test_pasting(recorded):
    maps = recorded.held["probabilities"]
    boxes = recorded.boxes["boxes"][: len(maps)]
    close_to(paste(maps, boxes, 192, 288), unpacked(recorded.held["pasted"][: len(maps)], 192, 288), margin=1e-4)
    boxes = boxes * torch.tensor([600 / 288, 400 / 192] * 2)
    close_to(paste(maps, boxes, 400, 600), unpacked(recorded.held["pasted_400x600"], 400, 600), margin=1e-4)


def test_losses_and_gradients(recorded):
    model = recorded.model.train()
    images = model.preprocess(recorded.images)
    targets = model.targets(recorded.targets, images)
    boxes = torch.nn.utils.rnn.pad_sequence(recorded.proposals, batch_first=True)
    valid = torch.arange(boxes.shape[1]) < torch.tensor([[len(x)] for x in recorded.proposals])
    features = model.features(images.pixels)
    trained = list(model.roi_heads.train_stages(features, Proposals(boxes, valid), targets, images.sizes))
    losses = model.tasks[0].loss(features, trained, targets)
    expected = [float(x) for name, x in recorded.held.items() if "loss_mask" in name]
    assert len(expected) == len(losses)
    assert [loss.item() for loss in losses.values()] == pytest.approx(expected, rel=5e-4)
    sum(losses.values()).backward()
    own = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    ours = {theirs: name for name in own for row in names_at(recorded.origin, model.config)
            if (theirs := rename(name, [row]))}  # fmt: skip
    norms = recorded.held["gradnorm"]
    found = torch.stack([own[ours[name]].norm() for name in recorded.names]).double()
    apart = (found - norms).abs() / norms.clamp(min=1e-3 * float(norms.max()))
    assert float(apart.median()) < 2e-3
    assert float(apart.max()) < 2e-2
    model.zero_grad()
