"""What is read before training starts."""

from dataclasses import replace
from pathlib import Path

import pytest
from lightning_fabric import Fabric

from cascade_rcnn import save
from cascade_rcnn.engine.training import data as data_module
from cascade_rcnn.engine.training.prepare import _expects_masks, prepare
from cascade_rcnn.models.create import create_model
from cascade_rcnn.recipes import Recipe


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record, for every annotation file that is read, whether masks are requested."""
    wanted: list[bool] = []
    read = data_module.load_annotations

    def counted(*args, masks: bool = False, **kwargs):
        wanted.append(masks)
        return read(*args, masks=masks, **kwargs)

    monkeypatch.setattr(data_module, "load_annotations", counted)
    return wanted


def ready(recipe: Recipe):
    Path(recipe.output).mkdir()
    return prepare(recipe, Fabric(accelerator="cpu"), resume=False)


@pytest.mark.parametrize("masks", [False, True])
def test_annotations_are_read_once(recipe, outlined, reads, masks):
    name = f"{'mask' if masks else 'faster'}_rcnn_resnet18_fpn"
    state, _ = ready(replace(recipe, model=name, data=outlined(0)))
    assert reads == [masks, masks]  # the training set and the validation set
    assert ("training masks" in state.fingerprint) == masks
    assert ("validation masks" in state.fingerprint) == masks


@pytest.mark.parametrize(("patience", "every", "noted"), [(2, 0, True), (2, 1, False), (0, 0, False)])
def test_patience_without_evaluations_is_noted(recipe, patience, every, noted):
    _, notes = ready(replace(recipe, patience=patience, evaluate_every=every))
    assert ("--patience has no effect, because the model is not evaluated" in notes) == noted


def test_without_validation_data_one_note_is_enough(recipe):
    _, notes = ready(replace(recipe, patience=2, data=replace(recipe.data, val="")))
    assert any(note.startswith("no --data.val is given: the model is not evaluated") for note in notes)
    assert not any("--patience" in note for note in notes)


def test_more_objects_than_the_model_finds_are_noted(recipe):
    few = replace(recipe, options=replace(recipe.options, max_detections=2))
    assert any(note.startswith("the model finds at most 2 objects per image, but ") for note in ready(few)[1])


def test_an_update_has_no_more_images_than_an_epoch(recipe):
    state, notes = ready(replace(recipe, accumulate=100))  # 13 images, in 6 batches of 2
    assert (state.total_steps, state.images_per_step) == (2, 12)
    assert "each update uses 12 images, as an epoch has only 6 steps (--accumulate 100)" in notes


@pytest.mark.parametrize(
    ("sizes", "noted"),
    [
        ({"min_size": (32, 800), "max_size": 544}, ["800, as --options.max-size 544 limits the long one"]),
        ({"min_size": 64, "max_size": 64}, []),
        ({"min_size": None, "max_size": 10}, []),
    ],
)
def test_a_short_side_that_no_image_reaches_is_noted(recipe, sizes, noted):
    _, notes = ready(replace(recipe, options=replace(recipe.options, **sizes)))
    first = "the short side of images does not reach --options.min-size "
    assert [note.removeprefix(first) for note in notes if note.startswith(first)] == noted


def test_a_threshold_that_repeats_nothing_is_noted(recipe):
    def noted(threshold: float) -> list[str]:
        changed = replace(recipe, output=f"{recipe.output}_{threshold:g}")
        notes = ready(replace(changed, data=replace(recipe.data, repeat_rare=threshold)))[1]
        return [note for note in notes if note.startswith("--data.repeat-rare")]

    (line,) = noted(0.001)
    least = float(line.split()[-1])
    assert line.startswith(f"--data.repeat-rare 0.001 has no effect, as each class is in at least {100 * least:.2g} %")
    assert noted(least / 2) != [] == noted(min(1, least * 1.1)) == noted(0)


def test_a_warm_up_longer_than_the_run_is_noted(recipe):
    longer = replace(recipe, optimizer=replace(recipe.optimizer, warmup_steps=500))
    assert any(note.startswith("the learning rate reaches at most") for note in ready(longer)[1])


def test_a_checkpoint_tells_whether_it_has_masks(recipe, outlined, reads, tmp_path):
    sizes = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16}
    save(create_model("mask_rcnn_resnet18_fpn", 2, **sizes), tmp_path / "masks.safetensors")
    state, _ = ready(replace(recipe, init=str(tmp_path / "masks.safetensors"), data=outlined(0)))
    assert state.model.config.has_masks
    assert reads == [True, True]


def test_what_is_expected_of_the_model(recipe):
    expected = {
        "starter": False,
        "mmdet/cascade-mask-rcnn_r50_fpn_1x_coco": True,
        "torchvision/fasterrcnn_resnet50_fpn": False,
    }
    assert {name: _expects_masks(replace(recipe, init=name)) for name in expected} == expected


def test_without_any_mask_a_checkpoint_s_head_is_left_out(recipe, outlined, reads, tmp_path):
    sizes = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16}
    save(create_model("mask_rcnn_resnet18_fpn", 2, **sizes), tmp_path / "masks.safetensors")
    changed = replace(recipe, init=str(tmp_path / "masks.safetensors"), data=outlined(10_000))
    state, notes = ready(changed)
    assert not state.model.config.has_masks
    assert "training masks" not in state.fingerprint
    assert any("its mask head is left out" in note for note in notes)
    assert reads == [True, True]
