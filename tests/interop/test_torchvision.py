"""A converted `fasterrcnn_resnet50_fpn` detects what torchvision's own model detects."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import resnet18
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import maskrcnn_inference, maskrcnn_loss
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.misc import FrozenBatchNorm2d

from cascade_rcnn.config import MaskConfig, ModelConfig, NormConfig, RoIAlignConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop import torchvision as interop
from cascade_rcnn.interop.convert import convert_checkpoint
from cascade_rcnn.interop.renaming import relaid, rename
from cascade_rcnn.masks import Masks
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.roi_align import PyramidRoIAlign
from cascade_rcnn.structures import Detections, StageOutput, Targets, TrainedOn
from cascade_rcnn.tasks.masks import MaskTask


@pytest.fixture(scope="module")
def peer() -> FasterRCNN:
    """Return a random model whose batch norm keeps the maps finite and whose heads tell boxes apart."""
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=6, min_size=160, max_size=250)
    for name, value in model.state_dict().items():
        if "running_var" in name:
            value.uniform_(0.6, 1.4, generator=generator)
        elif "running_mean" in name:
            value.normal_(0, 0.1, generator=generator)
        elif name.endswith("bn3.weight"):
            value.uniform_(0.2, 0.4, generator=generator)
        elif value.is_floating_point() and value.ndim > 1 and not name.startswith("backbone.body"):
            gain = {"cls_logits": 20, "cls_score": 5, "bbox_pred": 5}.get(name.split(".")[-2], 1)
            value.normal_(0, gain * float(value.std()), generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def model(peer, tmp_path_factory) -> Detector:
    file = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save(peer.state_dict(), file)
    converted, notes = convert_checkpoint(file, "torchvision")
    assumed, unnamed = notes
    assert "the file does not tell the model's arguments: anchors of 32 to 512 pixels" in assumed
    assert unnamed.startswith("the class names are unknown; they are set to 'class 1' to 'class 5'")
    preprocess = replace(converted.preprocess.config, min_size=(160,), max_size=250)
    converted.preprocess.config = preprocess
    return converted


def photos() -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    coarse = [torch.rand(1, 3, 9, 9, generator=generator) for _ in range(2)]
    return [F.interpolate(x, size=s, mode="bilinear")[0] for x, s in zip(coarse, [(130, 211), (170, 123)], strict=True)]


@torch.no_grad()
def test_same_network_input(peer, model):
    theirs, _ = peer.transform(photos())
    ours = model.preprocess(photos())
    torch.testing.assert_close(ours.pixels.contiguous(), theirs.tensors, rtol=0, atol=1e-5)
    assert ours.sizes.tolist() == [list(size) for size in theirs.image_sizes]


@torch.no_grad()
def test_same_anchors(peer, model):
    images, _ = peer.transform(photos())
    features = list(peer.backbone(images.tensors).values())
    theirs = peer.rpn.anchor_generator(images, features)[0]
    assert torch.equal(torch.cat(model.rpn.anchors(features)), theirs)  # P6: 53 pixels apart in one axis, not 64


@torch.no_grad()
def test_same_detections(peer, model):
    for theirs, ours in zip(peer(photos()), model(photos()), strict=True):
        assert len(theirs["boxes"]) > 50
        assert len(theirs["labels"].unique()) > 1
        apart = (theirs["boxes"][:, None] - ours["boxes"]).abs().amax(dim=-1)
        apart = apart.masked_fill(theirs["labels"][:, None] != ours["labels"], torch.inf)
        rows = apart.argmin(dim=1)  # equal scores may come in any order
        assert sorted(rows.tolist()) == list(range(len(ours["boxes"])))
        torch.testing.assert_close(ours["boxes"][rows], theirs["boxes"], rtol=0, atol=0.01)
        torch.testing.assert_close(ours["scores"][rows], theirs["scores"], rtol=0, atol=1e-4)
        torch.testing.assert_close(ours["scores"], theirs["scores"], rtol=0, atol=1e-4)  # in order


def published(fixed: bool = True) -> dict[str, Tensor]:
    """Return the names and shapes of torchvision's own COCO weights."""
    with torch.device("meta"):
        state = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    return {name: value for name, value in state.items() if not (fixed and name.endswith("num_batches_tracked"))}


def test_its_own_coco_weights_are_recognised():
    config, _ = interop.convert(published())
    assert config.backbone.norm == NormConfig(kind="frozen", eps=0.0, folded=False)
    assert [(c.id, c.name) for c in config.categories][:2] == [(1, "person"), (2, "bicycle")]
    assert (config.categories[-1].id, config.categories[-1].name, len(config.categories)) == (90, "toothbrush", 90)
    own, _ = interop.convert(published(fixed=False))
    assert (own.backbone.norm, own.categories[0].name) == (NormConfig(kind="batch", folded=False), "person")


@pytest.fixture
def fine_tuned() -> FasterRCNN:
    """Return what `weights="COCO_V1"` builds, with another head and, as in trained networks, some small variances."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = resnet18(norm_layer=FrozenBatchNorm2d)
        model = FasterRCNN(_resnet_fpn_extractor(body, 3), 3)
    overwrite_eps(model, 0.0)
    for module in body.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.running_var[::4], module.weight[::4] = 1e-4, 1e-2
    return model.eval()


@torch.no_grad()
def test_models_fine_tuned_from_its_coco_weights(fine_tuned, tmp_path):
    torch.save(fine_tuned.state_dict(), tmp_path / "model.pth")
    image = photos()[0][None, :, :128, :128]
    expected = fine_tuned.backbone(image)["0"]
    model, notes = convert_checkpoint(tmp_path / "model.pth", "torchvision", Path("COCO_V1"))
    assert not any("COCO_V1" in note for note in notes)
    torch.testing.assert_close(model.features(image)[0], expected, rtol=1e-3, atol=1e-4)
    other, notes = convert_checkpoint(tmp_path / "model.pth", "torchvision")
    assert "eps of 1e-05 of frozen batch norms, which is 0 if the model was fine-tuned from weights=COCO_V1" in notes[0]
    assert (other.features(image)[0] - expected).norm() > 0.01 * expected.norm()


def test_what_else_is_given_as_a_config_is_refused(tmp_path):
    with pytest.raises(
        UserError, match="torchvision has no config files; leave out --config, or give --config COCO_V1"
    ):
        interop.read_settings(tmp_path / "config.yaml", {})
    with pytest.raises(UserError, match="its batch norms are not frozen, unlike those of COCO_V1; leave out --config"):
        interop.convert(published(fixed=False), "COCO_V1")


def test_files_from_before_0_13_have_the_same_tensors():
    state = published()
    old = {re.sub(r"(_blocks\.\d)\.0\.", r"\1.", name.replace("conv.0.0.", "conv.")): x for name, x in state.items()}
    assert "rpn.head.conv.weight" in old
    assert "backbone.fpn.inner_blocks.2.bias" in old
    assert interop.convert(old)[1].keys() == interop.convert(state)[1].keys()


def test_what_does_not_convert_is_named():
    state = published() | {"roi_heads.box_head.7.0.weight": torch.zeros(256, 256, 3, 3)}
    with pytest.raises(UserError, match=r"'roi_heads\.box_head\.7\.0\.weight' \(256, 256, 3, 3\), which has no place"):
        interop.convert(state)


def test_same_masks_and_losses():
    """torchvision's Mask R-CNN head on our features and boxes."""
    torch.manual_seed(0)
    head, predictor = MaskRCNNHeads(8, [8] * 4, 1), MaskRCNNPredictor(8, 8, 6)
    config = MaskConfig(channels=8, roi_align=RoIAlignConfig(resolution=14, aligned=False), targets="soft")
    task = MaskTask(PyramidRoIAlign(config.roi_align, (4, 8, 16, 32)), 8, 5, config)
    parts = {"mask_head": head, "mask_predictor": predictor}
    theirs = {f"roi_heads.{name}.{k}": v for name, part in parts.items() for k, v in part.state_dict().items()}
    rows = [(other, own) for own, other in interop.NAMES]
    renamed = {str(rename(name, rows)): value for name, value in theirs.items()}
    state = relaid(renamed, ModelConfig(), interop.LAYOUT)
    task.load_state_dict({name.removeprefix("tasks.0."): value for name, value in state.items()})

    features = [torch.randn(2, 8, 48 // s, 64 // s) for s in (1, 2, 4, 8)]
    corner = torch.rand(2, 9, 2) * 100
    boxes, labels = torch.cat([corner, corner + torch.rand(2, 9, 2) * 90 + 2], dim=2), torch.randint(1, 6, (2, 9))
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2)
    maps = {str(k): x for k, x in enumerate(features)}
    logits = predictor(head(pool(maps, list(boxes), [(192, 256)] * 2)))
    expected = torch.stack(maskrcnn_inference(logits, list(labels)))[:, :, 0]
    found = task(features, Detections(boxes, labels.float(), labels, labels > 0)).extras["masks"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)

    masks, matched = (torch.rand(2, 3, 192, 256) < 0.6).byte(), torch.randint(0, 3, (2, 9))
    objects = torch.tensor([[1, 2, 3], [4, 5, 1]])
    expected = maskrcnn_loss(logits, list(boxes), list(masks), list(objects), list(matched))
    output, some = StageOutput(boxes, torch.zeros(2, 9, 6), torch.zeros(2, 9, 1, 4)), labels > 0
    trained = TrainedOn(output, objects.gather(1, matched), matched, boxes, some.float(), some, ~some)
    encoded = tuple(Masks.encode(one) for one in masks)
    truth = Targets(torch.zeros(2, 3, 4), objects, objects > 0, None, {"masks": encoded})
    torch.testing.assert_close(task.loss(features, [trained], truth)["loss_mask"], expected, rtol=1e-5, atol=0)
