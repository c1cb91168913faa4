"""The detector's public behaviour: torchvision's contract, and `predict`."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import PIL.Image
import pytest
import torch

from cascade_rcnn import UserError, create_model
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.structures import Proposals, Targets

TINY = {"backbone_width": 8, "pyramid_channels": 16, "head_width": 32, "proposals": 50, "rois": 16}
NAMES = ["cat", "dog", "hen"]


def tiny(name: str = "cascade_rcnn_resnet18_fpn", **options) -> Detector:
    torch.manual_seed(0)
    return create_model(name, categories=NAMES, **(TINY | {"min_size": 64, "max_size": 128} | options))


def image(height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(height * width))


def target(*boxes: list[float], label: int = 2) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.full((len(boxes),), label)}


def test_training_gives_scalar_losses_by_torchvision_s_names():
    losses = tiny("faster_rcnn_resnet18_fpn")([image(), image()], [target([5.0, 5, 40, 50]), target([8.0, 9, 60, 40])])
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    losses = tiny()([image(), image()], [target([5.0, 5, 40, 50]), target()])
    heads = {f"{name}_stage{t}" for name in ("loss_classifier", "loss_box_reg") for t in (1, 2, 3)}
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg"} | heads
    assert all(x.ndim == 0 and x.requires_grad and bool(x.isfinite()) and x.item() >= 0 for x in losses.values())


@torch.no_grad()
def test_detections_lie_in_their_images_best_first():
    model = tiny(score_threshold=0.0, max_detections=20).eval()
    images = [image(40, 100), image(200, 80), image(64, 64)]
    found = model(images)
    assert len(found) == 3
    for x, one in zip(images, found, strict=True):
        height, width = x.shape[-2:]
        assert set(one) == {"boxes", "scores", "labels"}
        assert 0 < len(one["boxes"]) == len(one["scores"]) == len(one["labels"]) <= 20
        assert one["boxes"].dtype == one["scores"].dtype == torch.float32
        assert one["labels"].dtype == torch.int64
        assert set(one["labels"].tolist()) <= {1, 2, 3}
        assert one["scores"].tolist() == sorted(one["scores"].tolist(), reverse=True)
        assert bool((one["boxes"][:, :2] >= 0).all())
        assert bool((one["boxes"][:, 2:] <= torch.tensor([width, height])).all())
        assert bool((one["boxes"][:, 2:] > one["boxes"][:, :2]).all())


@torch.no_grad()
def test_an_image_s_detections_do_not_depend_on_its_neighbours():
    """With equal padding, batching changes the speed but not the result."""
    model = tiny(score_threshold=0.0, max_detections=10, min_size=None).eval()
    images = [image(64, 96), image(50, 90), image(64, 70)]
    together = model(images)
    for x, one in zip(images, together, strict=True):
        alone = model([x])[0]
        torch.testing.assert_close(alone["scores"], one["scores"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone["boxes"], one["boxes"], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_images_of_a_pixel(size):
    model = tiny(score_threshold=0.0)
    losses = model([image(*size)], [target([0.0, 0, 1, 1])])
    assert all(bool(x.isfinite()) for x in losses.values())
    with torch.no_grad():
        found = model.eval()([image(*size)])[0]
    assert bool((found["boxes"] <= torch.tensor([size[1], size[0]] * 2)).all())


@pytest.mark.parametrize("semantics", ["paper", "detectron2", "mmdet"])
def test_without_objects_every_trained_weight_gets_a_gradient(semantics):
    model = tiny(semantics=semantics, class_agnostic=False)
    losses = model([image(), image()], [target(), target()])
    assert all(x.item() == 0 for name, x in losses.items() if "box_reg" in name)
    sum(losses.values()).backward()
    lacking = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not lacking
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_targets_are_not_changed():
    given = target([5.0, 5, 40, 50])
    kept = given["boxes"].clone()
    x = image(90, 40)
    before = x.clone()
    tiny()([x], [given])
    assert torch.equal(given["boxes"], kept)
    assert torch.equal(x, before)


def test_calls_that_cannot_be_meant():
    model = tiny()
    with pytest.raises(UserError, match="needs targets"):
        model([image()])
    with pytest.raises(UserError, match="needs targets"):
        model([image()], [])
    with pytest.raises(UserError, match="empty"):
        model([], [])
    with pytest.raises(UserError, match="empty"):
        model.eval()([])


@pytest.mark.parametrize("training", [True, False])
def test_one_image_is_not_a_list_of_its_channels(training):
    with pytest.raises(UserError, match=r"images is of shape \(3, 64, 96\); give a list"):
        tiny().train(training)(image(), [target([5.0, 5, 40, 50])])
    assert len(tiny().eval()(image()[None])) == 1


def test_gradients_flow_to_images():
    """For saliency maps and adversarial training."""
    model, x = tiny(score_threshold=0.0), image().requires_grad_()
    sum(model([x, image()], [target([5.0, 5, 40, 50])] * 2).values()).backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert bool((x.grad != 0).any())
    x.grad = None
    model.eval()([x])[0]["scores"].sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).any())


# -- predict -------------------------------------------------------------------------------------------------------


def test_predict_takes_every_form_of_an_image(tmp_path):
    model = tiny(score_threshold=0.0)
    pixels = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    array = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    picture = PIL.Image.fromarray(array)
    picture.save(tmp_path / "image.png")
    forms = [tmp_path / "image.png", str(tmp_path / "image.png"), picture, array, pixels]
    expected = model.predict(pixels, threshold=0.0)
    assert type(expected).__module__.startswith("supervision")
    assert len(expected) > 0
    for form in forms:
        found = model.predict(form, threshold=0.0)
        assert np.array_equal(found.xyxy, expected.xyxy)
        assert np.array_equal(found.confidence, expected.confidence)
    many = model.predict(forms, threshold=0.0)
    assert isinstance(many, list)
    assert [len(one) for one in many] == [len(expected)] * len(forms)
    assert model.predict([]) == []


def test_predict_refuses_values_in_another_range():
    model = tiny()
    for wrong in (image() * 255, (image() - 0.45) / 0.225, image() / 0):
        with pytest.raises(UserError, match=r"values from .*; give 0\.\.1"):
            model.predict(wrong)


def test_predict_names_classes_and_applies_the_threshold():
    model = tiny(score_threshold=0.0)
    found = model.predict(image(), threshold=0.0)
    assert found.data["class_name"].tolist() == [NAMES[k] for k in found.class_id]
    middle = float(np.median(found.confidence))
    assert len(model.predict(image(), threshold=middle)) == int((found.confidence >= middle).sum())
    assert model.class_names == NAMES


def test_predict_folds_and_batches_many_and_finds_the_same():
    model = tiny(score_threshold=0.0).eval()
    pixels = torch.randint(0, 256, (5, 3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = [model.predict(one, threshold=0.0) for one in pixels]
    norms = sum(isinstance(module, torch.nn.Identity) for module in model.modules())
    for batch_size in (None, 1, 2, 5):
        for found, one in zip(model.predict(pixels, threshold=0.0, batch_size=batch_size), expected, strict=True):
            np.testing.assert_allclose(found.xyxy, one.xyxy, atol=1e-2)
    assert norms == sum(isinstance(module, torch.nn.Identity) for module in model.modules())


def test_predict_among_threads_is_right_on_a_model_in_training_mode():
    model = tiny(score_threshold=0.0)
    pictures = [image(64, width) for width in (64, 80, 96, 112)]
    expected = [deepcopy(model).eval().predict(one, threshold=0.0) for one in pictures]
    modes = [module.training for module in model.train().modules()]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: model.predict(one, threshold=0.0), pictures * 4))
    for one, other in zip(found, expected * 4, strict=True):
        assert np.array_equal(one.xyxy, other.xyxy)
        assert np.array_equal(one.confidence, other.confidence)
    assert [module.training for module in model.modules()] == modes


def test_predict_leaves_the_mode_as_it_was(tmp_path):
    model = tiny()
    assert model.training
    model.predict(image())
    assert model.training
    with pytest.raises(UserError, match="no such image"):
        model.predict(tmp_path / "missing.png")
    assert model.training
    model.eval().predict(image())
    assert not model.training


@pytest.mark.parametrize("size", [0, -5, 1.5])
def test_predict_refuses_sizes_that_no_image_has(size):
    with pytest.raises(UserError, match=rf"min_size is {size}; give"):
        tiny().predict(torch.zeros(3, 64, 64), min_size=size)


def test_predict_resizes_as_asked(monkeypatch):
    detector = create_model("cascade_rcnn_resnet18_fpn", 2, **(OPTIONS | {"min_size": 64})).eval()
    seen = []
    detect = detector.detect
    monkeypatch.setattr(detector, "detect", lambda pixels, sizes: seen.append(sizes.tolist()) or detect(pixels, sizes))
    image = torch.rand(3, 50, 100)
    for min_size in ("model", None, 96):
        detector.predict(image, min_size=min_size)
    assert seen == [[[64.0, 128.0]], [[50.0, 100.0]], [[96.0, 192.0]]]


# -- proposals from elsewhere ----------------------------------------------------------------------------------------

OPTIONS = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "proposals": 30, "rois": 16, "min_size": None}


def moving(name: str, **options):
    """Return a model in evaluation mode whose heads move boxes."""
    torch.manual_seed(0)
    model = create_model(name, 2, score_threshold=0.0, **(OPTIONS | options)).eval()
    for head in model.roi_heads.heads:
        torch.nn.init.normal_(head.regressor.weight, std=0.5)
    return model


PIXELS, SIZES = torch.randn(2, 3, 64, 96), torch.tensor([[64.0, 96], [50, 80]])


@pytest.mark.parametrize("name", ["cascade_rcnn_resnet18_fpn", "iterative_bbox_rfcn_resnet18", "cascade_rcnn_vgg16"])
@torch.no_grad()
def test_stages_run_apart_as_together(name):
    """Passing the output of stage t to stage t + 1 by hand equals the model's own forward pass."""
    model = moving(name, ensemble=False)
    whole = model.detect(PIXELS, SIZES)
    for stage in (0, 1, 2):
        proposals = model.proposals_after(stage, PIXELS, SIZES)
        apart = model.detect(PIXELS, SIZES, proposals, first=stage + 1)
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(whole[:4], apart[:4], strict=True))


@torch.no_grad()
def test_one_model_s_proposals_go_to_the_heads_of_another():
    """Figure 5 (a): a detector applied to the proposals of a cascade's stage."""
    cascade, baseline = moving("cascade_rcnn_resnet18_fpn"), moving("rfcn_resnet18")
    proposals = cascade.proposals_after(2, PIXELS, SIZES)
    outputs = baseline.roi_heads.run(baseline.features(PIXELS), proposals.boxes, SIZES, 1)
    found = baseline.detect(PIXELS, SIZES, proposals)
    assert torch.equal(outputs[0].boxes, proposals.boxes)
    assert bool(found.valid.any())
    assert not torch.equal(found.boxes, baseline.detect(PIXELS, SIZES).boxes)


@torch.no_grad()
def test_ground_truth_joins_the_proposals():
    """Figure 5 (b). Heads that move nothing find the object exactly at its place."""
    model = moving("faster_rcnn_resnet18_fpn", nms_iou=1.0, max_detections=200)
    torch.nn.init.zeros_(model.roi_heads.heads[0].regressor.weight)
    truth = Targets(
        torch.tensor([[[5.0, 6, 41, 50]]] * 2), torch.ones(2, 1).long(), torch.tensor([[True], [False]]), None
    )
    proposals = model.proposals_after(0, PIXELS, SIZES)
    more = proposals.with_truth(truth)
    assert more.boxes.shape[1] == proposals.boxes.shape[1] + 1
    found = model.detect(PIXELS, SIZES, more)
    hits = ((found.boxes - truth.boxes).abs().amax(-1) < 1e-3) & found.valid
    assert hits.any(dim=1).tolist() == [True, False]  # the second image's slot is empty


@pytest.mark.parametrize("name", ["cascade_mask_rcnn_resnet18_fpn", "rfcn_resnet18", "cascade_rcnn_vgg16"])
@torch.no_grad()
def test_without_proposals_nothing_is_found(name):
    none = Proposals(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool))
    found = moving(name).detect(PIXELS, SIZES, none)
    assert found.boxes.shape == (2, 0, 4)
    assert all(extra.shape[:2] == (2, 0) for extra in found.extras.values())


def test_stages_that_there_are_not():
    model = moving("cascade_rcnn_resnet18_fpn", test_stage=2)
    with pytest.raises(UserError, match="stages 3 to 2: this model runs stages 1 to 3"):
        model.detect(PIXELS, SIZES, first=3)
    with pytest.raises(UserError, match="stages 1 to 4"):
        model.proposals_after(4, PIXELS, SIZES)


def test_a_detector_for_inference_finds_the_same():
    torch.manual_seed(0)
    model = tiny(score_threshold=0.0).eval()
    picture = torch.rand(3, 64, 96)
    with torch.no_grad():
        before = model([picture])[0]
        assert model.for_inference() is model
        after = model([picture])[0]
    assert not any("bn" in name for name in model.state_dict())
    assert not any(p.requires_grad for p in model.parameters())
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-3)


def test_copies_of_a_detector_detect_with_their_own_weights():
    """Also if its `detect` was replaced by a compiled one."""
    detector = tiny()
    other = deepcopy(detector)
    other.detect = detector.detect  # as torch.compile's, bound to one detector
    assert vars(deepcopy(other)).keys() == vars(detector).keys()
    assert deepcopy(other).detect.__self__ is not detector
    assert "detect" not in vars(pickle.loads(pickle.dumps(other)))
    assert other.eval()._ready(fold=True) is other
    assert other.train()._ready(fold=True) is not other
