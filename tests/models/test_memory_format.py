"""A model that trains lies in memory as the processor likes it; one that only detects is channels last."""

import pytest
import torch

from cascade_rcnn import create_model, load, save
from cascade_rcnn.engine import optim
from cascade_rcnn.models.memory_format import training_memory_format
from cascade_rcnn.recipes import Optimizer

TINY = {"pyramid_channels": 8, "head_width": 16, "proposals": 20, "rois": 8, "min_size": 64}


def processor(monkeypatch: pytest.MonkeyPatch, capability: str, *, gpu: bool = False) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)


def layout(model: torch.nn.Module) -> torch.memory_format:
    weight = model.get_submodule("backbone.layer2.0.conv1").weight
    assert isinstance(weight, torch.Tensor)
    return torch.contiguous_format if weight.is_contiguous() else torch.channels_last


@pytest.mark.parametrize(
    ("capability", "gpu", "expected"),
    [
        ("AVX2", False, torch.contiguous_format),
        ("DEFAULT", False, torch.contiguous_format),
        ("AVX512", False, torch.channels_last),
        ("AVX2", True, torch.channels_last),
    ],
)
def test_by_processor(monkeypatch, capability, gpu, expected):
    processor(monkeypatch, capability, gpu=gpu)
    assert training_memory_format() == expected


def test_made_to_train_loaded_to_detect_and_trained_again(monkeypatch, tmp_path):
    processor(monkeypatch, "AVX2")
    model = create_model("faster_rcnn_resnet18_fpn", 2, **TINY)
    assert layout(model) == torch.contiguous_format
    save(model, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert layout(loaded) == torch.channels_last
    assert layout(loaded.train()) == torch.contiguous_format
    assert layout(loaded.eval()) == torch.contiguous_format  # an optimizer may hold its weights by now


def test_the_layout_changes_no_loss_and_no_gradient():
    torch.manual_seed(0)
    model = create_model("cascade_rcnn_resnet18_fpn", 2, **TINY)
    targets = [{"boxes": torch.tensor([[5.0, 5, 40, 50], [30, 10, 60, 60]]), "labels": torch.tensor([1, 2])}]
    image, seen = torch.rand(3, 64, 96), []
    for memory_format in (torch.channels_last, torch.contiguous_format):
        model.to(memory_format=memory_format)
        model.zero_grad()
        torch.manual_seed(1)
        losses = model([image], targets)
        torch.stack(list(losses.values())).sum().backward()
        gradient = model.backbone.get_parameter("conv1.weight").grad
        assert gradient is not None
        seen.append((losses, gradient.clone()))
    torch.testing.assert_close(*(losses for losses, _ in seen), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(*(gradient for _, gradient in seen), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_an_optimizer_s_state_of_another_layout_goes_on_as_if_it_were_of_the_same(name):
    """The fused kernels walk over weights and state in memory order."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, 3, 3, generator=generator)
    gradients = [torch.randn(4, 3, 3, 3, generator=generator) for _ in range(3)]
    config = Optimizer(name=name, lr=0.1)

    def run(first: torch.memory_format, then: torch.memory_format) -> torch.Tensor:
        weight = torch.nn.Parameter(start.clone().contiguous(memory_format=first))
        state = None
        for step, gradient in enumerate(gradients):
            if step in (0, 1):  # resumed after the first step
                weight = torch.nn.Parameter(weight.detach().contiguous(memory_format=first if step == 0 else then))
                groups = [{"params": [weight], "multiplier": 1.0, "weight_decay": 0.0}]
                optimizer = optim.make_optimizer(groups, config)
                if state is not None:
                    optimizer.load_state_dict(state)
                    optim.match_layout(optimizer)
            weight.grad = gradient.contiguous(memory_format=first if step == 0 else then)
            optimizer.step()
            state = optimizer.state_dict()
        return weight.detach().contiguous()

    same = run(torch.channels_last, torch.channels_last)
    torch.testing.assert_close(run(torch.channels_last, torch.contiguous_format), same)
