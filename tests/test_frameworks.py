"""The bare module in other training loops: a plain one, Lightning's and Accelerate's, and compiled."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import cascade_rcnn
from cascade_rcnn import Dataset, Detector

Target = dict[str, Tensor]


def collate(samples: list[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
    """Keep images of different sizes separate."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cascade_rcnn.write_shapes(tmp_path_factory.mktemp("data") / "shapes", train=4, val=2, size=64)


@pytest.fixture
def loader(shapes: Path) -> DataLoader:
    dataset = Dataset(cascade_rcnn.load_annotations(shapes / "train.json"), v2.RandomHorizontalFlip())
    return DataLoader(dataset, batch_size=2, collate_fn=collate)


@pytest.fixture
def model() -> Detector:
    torch.manual_seed(0)
    sizes = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8, "proposals": 20, "rois": 8}
    return cascade_rcnn.create_model("cascade_rcnn_resnet18_fpn", 4, min_size=64, **sizes)


@pytest.fixture
def moved(model: Detector) -> Iterator[None]:
    """Check after the test that every trainable weight has changed and is finite."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    yield
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert all(value.isfinite().all() for value in trained.values())
    still = [name for name, value in trained.items() if value.equal(before[name])]
    assert len(trained) > 50
    assert not still


def adamw(model: Detector) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)


@pytest.mark.usefixtures("moved")
def test_a_plain_loop(model, loader):
    optimizer = adamw(model)
    for _ in range(2):
        for images, targets in loader:
            loss = sum(model(images, targets).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@pytest.mark.slow
@pytest.mark.usefixtures("moved")
def test_lightning(model, loader, tmp_path):
    import lightning  # takes a second

    class Module(lightning.LightningModule):
        def __init__(self, detector: Detector) -> None:
            super().__init__()
            self.detector = detector
            self.found: list[dict[str, Tensor]] = []

        def training_step(self, batch: tuple[list[Tensor], list[Target]], index: int) -> Tensor:
            losses = self.detector(*batch)
            self.log_dict(losses, batch_size=len(batch[0]))
            return sum(losses.values())  # type: ignore[return-value]

        def validation_step(self, batch: tuple[list[Tensor], list[Target]], index: int) -> None:
            self.found += self.detector(batch[0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return adamw(self.detector)

    module = Module(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its advice on workers and logging
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, loader, loader)
    assert trainer.global_step == 2
    assert set(trainer.logged_metrics) >= {"loss_objectness", "loss_classifier_stage3"}
    assert len(module.found) == 4 + 4  # two sanity-check batches, then an epoch
    assert set(module.found[0]) == {"boxes", "scores", "labels"}


@pytest.mark.usefixtures("moved")
def test_accelerate(model, loader):
    import accelerate

    accelerator = accelerate.Accelerator(cpu=True)
    prepared, optimizer, batches = accelerator.prepare(model, adamw(model), loader)
    for images, targets in batches:
        loss = sum(prepared(images, targets).values())
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
    assert accelerator.unwrap_model(prepared) is model


@pytest.mark.slow  # tests/models/test_compile.py covers the parts that matter for speed
@pytest.mark.usefixtures("moved")
def test_compiled(model, loader):
    images, targets = next(iter(loader))
    torch.manual_seed(1)
    expected = model(images, targets)
    compiled = torch.compile(model, backend="aot_eager")
    torch.manual_seed(1)
    losses = compiled(images, targets)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    sum(losses.values()).backward()
    adamw(model).step()
