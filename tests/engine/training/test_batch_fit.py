"""The number of images that fit: a step that runs out of memory above a given number, and a real one."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cascade_rcnn.engine.checkpoint import load
from cascade_rcnn.engine.training import batch_fit
from cascade_rcnn.engine.training import train as training
from cascade_rcnn.engine.training.batch_fit import BatchFit, fit_batch, hardest, largest_part
from cascade_rcnn.engine.training.metric_log import read_csv
from cascade_rcnn.engine.training.prepare import in_parts
from cascade_rcnn.engine.training.trial_run import trial_run
from cascade_rcnn.errors import UserError


def _steps_of_at_most(number: int, tried: list[int]):
    def step(images: int) -> None:
        tried.append(images)
        if images > number:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has 8 GiB")

    return step


@pytest.mark.parametrize(
    ("wanted", "most", "tries"),
    [(8, 8, [8]), (8, 5, [8, 4]), (8, 1, [8, 4, 2, 1]), (6, 2, [6, 3, 1]), (5, 4, [5, 1]), (1, 1, [1])],
)
def test_halves_are_tried_until_one_fits(wanted, most, tries):
    tried: list[int] = []
    found = largest_part(_steps_of_at_most(most, tried), wanted)
    assert tried == tries
    assert found == tries[-1] <= most
    assert wanted % found == 0  # an update still sees the same number of images


def test_one_image_too_large():
    assert largest_part(_steps_of_at_most(0, []), 4) == 0


def test_what_fits_on_another_rank_counts(recipe, monkeypatch):
    monkeypatch.setattr(batch_fit, "available_memory", lambda: 2.0**50)
    monkeypatch.setattr(batch_fit, "gather", lambda _, mine: [mine, 0])  # all ranks learn that one has too little
    with trial_run(recipe) as run, pytest.raises(UserError, match="not even one image fits into memory"):
        fit_batch(run)


def test_other_errors_are_errors():
    def step(images: int) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        largest_part(step, 4)


def test_the_hardest_images():
    sizes = np.array([(25, 20), (20, 30), (20, 29), (20, 30), (10, 30)])
    boxes = np.array([99, 2, 8, 5, 9])
    # of the wide images: 600 pixels and 5 boxes, then 9 boxes, 600 pixels and 2 boxes, 580 pixels
    assert hardest(sizes, boxes) == [3, 4, 1, 2]


@pytest.mark.parametrize(
    ("memory", "fitting"), [(2**50, 4), (0.0, None)]
)  # a real step of a thin model needs some memory
def test_a_real_step(recipe, monkeypatch, memory, fitting):
    monkeypatch.setattr(batch_fit, "available_memory", lambda: memory)
    options = replace(recipe.options, min_size=(96, 48), max_size=200)
    with trial_run(replace(recipe, batch_size=4, options=options)) as run:
        random, weights = torch.get_rng_state(), {k: v.clone() for k, v in run.model.state_dict().items()}
        if fitting is None:
            with pytest.raises(UserError, match="not even one image"):
                fit_batch(run)
        else:
            found = fit_batch(run)
            assert str(found) == "batch size: 4 images of up to 96 x 96 pixels fit into 1048576.0 GB"
        assert torch.equal(torch.get_rng_state(), random)
        torch.testing.assert_close(run.model.state_dict(), weights, rtol=0, atol=0)
        assert not any(p.grad is not None for p in run.model.parameters())


def test_a_step_on_a_cpu_is_predicted_from_one_image(recipe, monkeypatch):
    monkeypatch.setattr(batch_fit, "available_memory", lambda: 1000.0)
    monkeypatch.setattr(batch_fit, "memory_of", lambda step: [step(), 400.0][1])
    with trial_run(replace(recipe, batch_size=4, accumulate=3)) as run:
        found = fit_batch(run)  # 900 of 1000 may be used: two images at 400 each
    assert found is not None
    assert (found.wanted, found.fitting) == (4, 2)
    assert str(found).endswith("at once: --batch-size 2 --accumulate 6")


@pytest.mark.parametrize(("taken", "fitting"), [(1000.0, 1), (1001.0, None)])
def test_a_single_image_may_take_all_memory(recipe, monkeypatch, taken, fitting):
    monkeypatch.setattr(batch_fit, "available_memory", lambda: 1000.0)
    monkeypatch.setattr(batch_fit, "memory_of", lambda step: taken)
    with trial_run(replace(recipe, batch_size=4)) as run:
        if fitting is None:
            with pytest.raises(UserError, match=r"not even one image .* skip this trial with --no-fit-batch"):
                fit_batch(run)
        else:
            found = fit_batch(run)
            assert found is not None
            assert found.fitting == fitting


@pytest.mark.parametrize(("here", "fitting"), [("1", 4), ("2", 2)])
def test_only_processes_on_this_machine_share_its_memory(recipe, monkeypatch, here, fitting):
    monkeypatch.setattr(batch_fit, "available_memory", lambda: 4 * 2.0**30)
    monkeypatch.setattr(batch_fit, "memory_of", lambda step: 0.8 * 2**30)
    with trial_run(replace(recipe, batch_size=4)) as run:
        monkeypatch.setattr(type(run.fabric), "world_size", 4)  # some of them on other machines
        monkeypatch.setattr(batch_fit, "gather", lambda _, mine: [mine])
        monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
        found = fit_batch(run)
    assert found is not None
    assert (found.fitting, found.memory) == (fitting, 4 * 2**30 / int(here))


def test_where_memory_is_unknown_nothing_is_tried(recipe, monkeypatch):
    monkeypatch.setattr(batch_fit, "available_memory", lambda: None)
    with trial_run(recipe) as run:
        assert fit_batch(run) is None


def test_schedule_and_images_of_an_update_stay(recipe):
    with trial_run(replace(recipe, batch_size=4, accumulate=3)) as run:
        before = (run.images_per_step, run.total_steps)
        parts = in_parts(run, 2)
        assert (parts.recipe.batch_size, parts.recipe.accumulate, parts.loader.batch_sampler.batch_size) == (2, 6, 2)
        assert (parts.images_per_step, parts.total_steps) == before
        written = json.loads((run.output / "recipe.json").read_text())
        assert (written["batch_size"], written["accumulate"]) == (2, 6)


def test_parts_leave_fewer_images_over_at_the_end_of_an_epoch(recipe):
    with trial_run(replace(recipe, batch_size=8)) as run:
        # 8 of 13 images, then 8 and 4
        assert (run.total_steps, in_parts(run, 2).total_steps) == (recipe.epochs, 2 * recipe.epochs)


def test_a_training_in_parts_and_its_resumption(recipe, monkeypatch, capsys):
    def only_two(state) -> BatchFit:
        return BatchFit(wanted=4, fitting=2, size=(64, 64), memory=2.0**30)

    monkeypatch.setattr(training, "fit_batch", only_two)
    recipe = replace(recipe, batch_size=4)
    output = training.train(recipe, fit=True)
    assert "only 2 of 4 images" in capsys.readouterr().err
    written = json.loads((output / "recipe.json").read_text())
    assert (written["batch_size"], written["accumulate"]) == (2, 2)
    assert len(read_csv(output / "train.csv")) == 6  # 12 of 13 images, in batches of 2: 3 updates per epoch
    weights = load(output / "last.safetensors").state_dict()
    assert training.train(recipe, fit=True, resume=True) == output  # finished: nothing is left to do
    assert f"all {recipe.epochs} epochs of this run are done; to train longer" in capsys.readouterr().err
    torch.testing.assert_close(load(output / "last.safetensors").state_dict(), weights, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("batch", "advice"),
    [(4, "--batch-size 2 --accumulate 6"), (1, r"with smaller images \(.*\), or --options\.checkpointing$")],
)
def test_a_run_out_of_memory_ends_with_one_line(recipe, monkeypatch, batch, advice):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has 8 GiB")

    monkeypatch.setattr(training, "run_epoch", full)
    with pytest.raises(UserError, match=advice) as caught:
        training.train(replace(recipe, batch_size=batch, accumulate=3))
    assert str(caught.value).startswith("out of memory (CUDA out of memory); start a new run with ")
    assert "\n" not in str(caught.value)


def test_a_run_out_of_the_machine_s_memory_quotes_the_reason(recipe, monkeypatch):
    def full(*_: object) -> None:
        raise RuntimeError(
            "[enforce fail] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4"
        )

    monkeypatch.setattr(training, "run_epoch", full)
    with pytest.raises(UserError, match=r"^out of memory \(.*can't allocate memory.*start a new run with --batch-size"):
        training.train(recipe)
