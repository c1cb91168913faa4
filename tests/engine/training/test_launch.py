"""The choice of a device, as far as it can be tested without one, and processes that cannot reach each other."""

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from cascade_rcnn.engine.training import launch
from cascade_rcnn.errors import UserError
from cascade_rcnn.recipes import Recipe


@pytest.fixture
def machine(monkeypatch):
    def has(*, cuda: bool = False, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


def test_a_batch_job_that_srun_has_not_started_is_one_process(machine, thin_recipe, monkeypatch):
    machine()
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "5", "SLURM_JOB_NAME": "night"}.items():
        monkeypatch.setenv(name, value)
    assert launch.launch(thin_recipe).world_size == 1


def test_a_cpu_has_only_so_many_processes(machine, thin_recipe, monkeypatch):
    machine()
    for cores, most in ((4, 4), (1, 2)):
        monkeypatch.setattr(launch.os, "cpu_count", lambda cores=cores: cores)
        with pytest.raises(UserError, match=f"devices is 5; give at most {most} on the CPU of this machine"):
            launch.launch(replace(thin_recipe, devices=5))


class Recording(nn.Module):
    """Records what it is called with, and the dtype of its product."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, images, targets):
        self.images, self.targets, self.computed = images, targets, self.layer(torch.ones(1, 2)).dtype
        return {"loss": torch.zeros(())}


@pytest.mark.parametrize(("precision", "computed"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_targets_reach_the_model_as_they_are_in_any_precision(machine, thin_recipe, precision, computed):
    machine()
    fabric = launch.launch(replace(thin_recipe, precision=precision))
    model = Recording()
    boxes = torch.tensor([[601.3, 777.7, 1001.2, 1203.9]])  # bf16 has 600, 776, 1000 and 1200
    fabric.setup(model)([torch.full((3, 4, 4), 0.301)], [{"boxes": boxes}])
    assert model.computed == computed
    assert model.targets[0]["boxes"].equal(boxes)
    assert model.images[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("asked", "cuda", "mps", "kind"),
    [
        ("auto", False, False, "cpu"),
        ("auto", True, False, "cuda"),
        ("auto", False, True, "cpu"),  # Apple's GPU is used only on request
        ("mps", False, True, "mps"),
        ("mps", True, True, "mps"),
        ("cpu", True, True, "cpu"),
        ("cuda", True, False, "cuda"),
    ],
)
def test_devices(machine, asked, cuda, mps, kind):
    machine(cuda=cuda, mps=mps)
    assert launch._kind(Recipe(accelerator=asked)) == kind


@pytest.mark.parametrize(
    ("changes", "mps", "words"),
    [
        ({"accelerator": "mps"}, False, "no Apple GPU here"),
        ({"accelerator": "mps", "precision": "bf16"}, True, "choose fp32"),
        ({"accelerator": "mps", "precision": "fp16"}, True, "choose fp32"),
        ({"accelerator": "cuda"}, True, "doctor"),
        ({"precision": "fp16"}, True, "needs a GPU"),
    ],
)
def test_what_is_not_here_is_refused_in_one_line(machine, changes, mps, words):
    machine(mps=mps)
    with pytest.raises(UserError, match=words) as caught:
        launch._kind(replace(Recipe(), **changes))
    assert "\n" not in str(caught.value)


def test_an_apple_gpu_computes_in_fp32_and_alone(machine):
    machine(mps=True)
    assert launch._native_precision("mps") == "fp32"
    with pytest.raises(UserError, match="devices is 2"):
        launch.launch(Recipe(accelerator="mps", devices=2))


@pytest.mark.parametrize(
    ("attempt", "advice"),
    [("0", "check the address"), ("1", "start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1")],
)
def test_one_line_says_what_may_be_wrong(thin_recipe, monkeypatch, attempt, advice):
    def refused(fabric):
        raise RuntimeError("Gloo connectFullMesh failed with Connection refused\nmore")

    monkeypatch.setattr(Fabric, "launch", refused)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", attempt)
    with pytest.raises(UserError, match=rf"cannot connect \(Gloo .* refused\); {advice}") as caught:
        launch.launch(replace(thin_recipe, devices=1))
    assert "\n" not in str(caught.value)


def test_other_errors_stay_what_they_are(thin_recipe, monkeypatch):
    def broken(fabric):
        raise RuntimeError("broken")

    monkeypatch.setattr(Fabric, "launch", broken)
    with pytest.raises(RuntimeError, match=r"^broken$"):
        launch.launch(thin_recipe)
