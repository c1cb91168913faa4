"""On a GPU: what the CPU computes, in every precision, compiled, and trained; these tests need one."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import cascade_rcnn
from cascade_rcnn import Predictor, nms, pasting
from cascade_rcnn.config import RoIAlignConfig
from cascade_rcnn.engine.training.metric_log import read_csv
from cascade_rcnn.models.roi_align import PyramidRoIAlign

from .detectors import FPN, SIZES, built, images, targets

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("default"),  # of the compiler and of drivers
]


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Compute convolutions in float32 rather than TF32, as on a CPU."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def share_found(ours: dict[str, Tensor], theirs: dict[str, Tensor], pixels: float, score: float) -> float:
    """Return the share of `theirs` with a detection of the same class in `ours` that close."""
    distance = torch.cdist(theirs["boxes"].cpu().double(), ours["boxes"].cpu().double(), p=float("inf"))
    apart = (theirs["scores"].cpu()[:, None] - ours["scores"].cpu()).abs()
    same = (distance <= pixels) & (apart <= score) & (theirs["labels"].cpu()[:, None] == ours["labels"].cpu())
    return float(same.any(dim=1).double().mean())


@torch.no_grad()
@pytest.mark.parametrize("name", SIZES)
def test_the_same_detections_as_on_the_cpu(name):
    detector = built(name).eval()
    expected = detector(images())
    found = detector.cuda()(images("cuda"))
    for one, other in zip(expected, found, strict=True):
        assert len(one["boxes"]) > 50
        assert other["boxes"].is_cuda
        assert abs(len(one["boxes"]) - len(other["boxes"])) <= 2
        assert share_found(other, one, pixels=0.05, score=1e-4) >= 0.97
        if "masks" in one:
            assert other["masks"].shape == (len(other["boxes"]), *one["masks"].shape[1:])


@pytest.mark.parametrize(
    ("name", "semantics"), [*((name, "detectron2") for name in SIZES), (FPN, "mmdet"), (FPN, "paper")]
)
def test_the_same_losses_and_gradients_as_on_the_cpu(name, semantics, monkeypatch):
    drawn, rand = torch.Generator(), torch.rand

    def same_draws(size: Any, device: Any) -> Tensor:
        return rand(size, generator=drawn).to(device)

    results = []
    for device in ("cpu", "cuda"):
        detector, given = built(name, semantics).to(device).train(), (images(device), targets(device))
        drawn.manual_seed(2)
        with monkeypatch.context() as patched:
            patched.setattr(torch, "rand", same_draws)
            losses = detector(*given)
        sum(losses.values()).backward()
        gradients = {key: value.grad.cpu() for key, value in detector.named_parameters() if value.grad is not None}
        results.append(({key: value.item() for key, value in losses.items()}, gradients))
    (expected, slopes), (found, there) = results
    assert found == pytest.approx(expected, rel=2e-3, abs=1e-5)
    assert slopes.keys() == there.keys()
    for key, slope in slopes.items():
        assert (slope - there[key]).norm() <= 0.02 * slope.norm() + 1e-6, key


@pytest.mark.parametrize("position_sensitive", [False, True])
@pytest.mark.parametrize("sampling", [0, 2])
def test_pooling(sampling, position_sensitive):
    if sampling == 0 and position_sensitive:
        pytest.skip("position-sensitive pooling has no adaptive grid")
    torch.manual_seed(0)
    pool = PyramidRoIAlign(RoIAlignConfig(sampling=sampling), (4, 8, 16, 32), position_sensitive=position_sensitive)
    bins = pool.config.resolution**2 if position_sensitive else 1
    maps = [torch.randn(2, 3 * bins, 64 // k, 96 // k, requires_grad=True) for k in (1, 2, 4, 8)]
    corner = torch.rand(2, 40, 2) * 150
    boxes = torch.cat([corner, corner + 200 * torch.rand(2, 40, 2) ** 3], dim=2)
    there = [x.detach().cuda().requires_grad_() for x in maps]
    expected, found = pool(maps, boxes), pool(there, boxes.cuda())
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)
    weight = torch.randn_like(expected)
    (expected * weight).sum().backward()
    (found * weight.cuda()).sum().backward()
    for one, other in zip(maps, there, strict=True):
        torch.testing.assert_close(other.grad.cpu(), one.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("number", [0, 1, 1000, 20000])
def test_nms_keeps_the_same(number):
    torch.manual_seed(0)
    corner = torch.randint(0, 800, (3, number, 2)).float()
    boxes = torch.cat([corner, corner + torch.randint(1, 100, (3, number, 2))], dim=2)  # whole: no rounding
    scores = torch.stack([torch.randperm(number) for _ in range(3)]).float()
    groups, valid = torch.randint(0, 5, (3, number)), torch.rand(3, number) > 0.1
    given = (boxes, scores, groups, valid)
    expected, found = nms.keep_mask(*given, 0.5), nms.keep_mask(*(x.cuda() for x in given), 0.5)
    assert torch.equal(found.cpu(), expected)


def test_pasting_masks():
    torch.manual_seed(0)
    maps, corner = torch.rand(20, 28, 28), 150 * torch.rand(20, 2)
    boxes = torch.cat([corner - 20, corner + 5 + 100 * torch.rand(20, 2)], dim=1)
    expected, found = pasting.paste(maps, boxes, 120, 200), pasting.paste(maps.cuda(), boxes.cuda(), 120, 200)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)


def test_detecting_waits_for_nms_alone():
    """torch raises where the host waits for the GPU; NMS, which has to, is replaced."""
    detector = built(FPN).cuda().eval()
    pixels, sizes = torch.rand(2, 3, 128, 160).cuda(), torch.tensor([[128.0, 160], [100, 130]]).cuda()
    with torch.no_grad(), pytest.MonkeyPatch.context() as patched:
        patched.setattr(nms, "OPERATOR", lambda boxes, scores, groups, valid, iou: valid)
        detector.detect(pixels, sizes)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            detector.detect(pixels, sizes)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled(mode):
    """`reduce-overhead` captures CUDA graphs, which cannot contain NMS."""
    torch.compiler.reset()
    detector = built("cascade_mask_rcnn_resnet18_fpn").cuda().eval().for_inference()
    with torch.inference_mode():
        expected = detector(images("cuda"))
        detector.detect = torch.compile(detector.detect, mode=mode)  # type: ignore[method-assign]
        for _ in range(3):  # a warm-up, a capture and a replay
            found = detector(images("cuda"))
            for one, other in zip(expected, found, strict=True):
                assert share_found(other, one, pixels=0.1, score=1e-3) >= 0.97


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cascade_rcnn.write_shapes(tmp_path_factory.mktemp("data") / "shapes", train=160, val=16, size=96)


@pytest.fixture(scope="module")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tune the starter on the GPU, with the default precision."""
    recipe = replace(cascade_rcnn.find_recipe("quickstart"), epochs=8, workers=2, accelerator="cuda")
    data = {"train": str(shapes / "train.json"), "val": str(shapes / "val.json")}
    result = cascade_rcnn.train(recipe, data=data, output=str(tmp_path_factory.mktemp("runs") / "gpu"))
    return result.weights


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_evaluation_in_every_precision(trained, shapes, precision):
    on_cpu = cascade_rcnn.evaluate(trained, shapes / "val.json", device="cpu")
    found = cascade_rcnn.evaluate(trained, shapes / "val.json", device="cuda", precision=precision, batch_size=4)
    assert on_cpu.ap > 0.05
    assert found.ap == pytest.approx(on_cpu.ap, abs=0.002 if precision == "fp32" else 0.02)


def test_the_predictor(trained, shapes):
    paths = sorted((shapes / "images" / "val").iterdir())
    expected = Predictor(trained, device="cpu")(paths, threshold=0.3)
    found = Predictor(trained, device="cuda")(paths, threshold=0.3)
    assert sum(len(one) for one in expected) > 0
    for one, other in zip(expected, found, strict=True):
        assert abs(len(one) - len(other)) <= 1


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_in_every_precision(thin_recipe, shapes, tmp_path, precision):
    recipe = replace(thin_recipe, accelerator="cuda", precision=precision, epochs=2, batch_size=8, output=str(tmp_path))
    data = {"train": str(shapes / "train.json"), "val": str(shapes / "val.json")}
    result = cascade_rcnn.train(recipe, data=data)
    weights = cascade_rcnn.load(result.weights).state_dict()
    assert all(value.isfinite().all() for value in weights.values())


def test_resuming(thin_recipe, shapes, tmp_path):
    """An interrupted run continues with the weights and the random numbers that it had."""
    data = {"train": str(shapes / "train.json")}
    output = str(tmp_path / "run")
    recipe = replace(thin_recipe, accelerator="cuda", batch_size=8, epochs=2, save_every=4, output=output)

    class Stop(cascade_rcnn.Callback):
        def on_step_end(self, step: cascade_rcnn.StepEnd) -> None:
            if step.step == 18:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cascade_rcnn.train(recipe, data=data, callbacks=[Stop()])
    expected = read_csv(tmp_path / "run" / "train.csv")
    cascade_rcnn.train(recipe, data=data, resume=True)
    found = read_csv(tmp_path / "run" / "train.csv")
    assert [row["step"] for row in found] == list(range(1, 41))
    # The update after the last save; later ones drift apart, since the kernels of a GPU add in any order.
    assert found[16]["loss"] == pytest.approx(expected[16]["loss"], rel=1e-3)
    assert found[16]["loss"] != pytest.approx(found[15]["loss"], rel=1e-3)


def test_images_that_do_not_fit_are_split(thin_recipe, shapes, tmp_path, monkeypatch, capfd):
    """With little memory left, the trial before training finds how many images fit."""
    total = torch.cuda.get_device_properties(0).total_memory
    options = replace(thin_recipe.options, min_size=800, max_size=800)
    recipe = replace(thin_recipe, options=options, accelerator="cuda", batch_size=64, output=str(tmp_path))
    torch.cuda.set_per_process_memory_fraction(3e9 / total)
    monkeypatch.setattr("cascade_rcnn.engine.training.batch_fit._gpu_memory", lambda: 3e9)
    try:
        cascade_rcnn.train(recipe, data={"train": str(shapes / "train.json")}, fit_batch=True)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "batch size: only" in "".join(capfd.readouterr())


def test_the_doctor_names_the_gpu(capfd):
    from cascade_rcnn.cli import main

    with suppress(SystemExit):  # if the package is used without being installed
        main(["doctor"])
    assert torch.cuda.get_device_name() in capfd.readouterr().out
