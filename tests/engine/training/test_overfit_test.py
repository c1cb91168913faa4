"""The overfitting test before a long training run."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cascade_rcnn.engine.checkpoint import load
from cascade_rcnn.engine.training import overfit_test as testing
from cascade_rcnn.engine.training import train as training
from cascade_rcnn.engine.training.overfit_test import OverfitTest, overfit_test
from cascade_rcnn.engine.training.trial_run import trial_run
from cascade_rcnn.errors import UserError
from cascade_rcnn.layers.normalization import BatchNorm2d


def _outcome(**changes) -> OverfitTest:
    return OverfitTest(**{"images": 8, "updates": 60, "seconds": 12.3, "first": 2.0, "last": 1.0} | changes)


@pytest.mark.parametrize(
    ("outcome", "passed", "words"),
    [
        (_outcome(), True, "overfit test: passed (loss 2 to 1 on 8 images, 60 updates, 12 s)"),
        (_outcome(last=1.01), False, "raise --optimizer.lr"),
        (_outcome(last=2.5), False, "lower --optimizer.lr"),
        (_outcome(last=float("nan"), updates=3), False, "lower --optimizer.lr"),
        (_outcome(last=1.5, updates=19), None, "inconclusive"),
        (_outcome(last=0.5, updates=4), True, "passed"),  # a few updates were enough
    ],
)
def test_what_is_said(outcome, passed, words):
    assert outcome.passed is passed
    assert words in str(outcome)
    assert ("cascade-rcnn look" in str(outcome)) == (passed is False)


def test_it_sees_boxes_and_learns_and_leaves_model_and_random_state(recipe, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(testing, "time", SimpleNamespace(monotonic=lambda: next(ticks)))  # each look at it is a second
    with trial_run(recipe) as run:
        model = {name: value.clone() for name, value in run.model.state_dict().items()}
        random = torch.get_rng_state()
        found = overfit_test(run, seconds=20)
        assert torch.equal(torch.get_rng_state(), random)
        torch.testing.assert_close(run.model.state_dict(), model, rtol=0, atol=0)
        assert not any(p.grad is not None for p in run.model.parameters())
        assert not run.optimizer.state
    assert found.images == 8
    assert found.last < found.first
    assert found.updates == 16  # four passes of four updates, each with a look at the clock, as has each pass


def test_an_image_that_cannot_be_read_is_left_out(recipe, monkeypatch):
    monkeypatch.setattr(testing, "IMAGES", 2)
    with trial_run(recipe) as run:
        dataset = run.data.train.with_transforms(None)
        first = int(dataset.annotations.first.diff().nonzero()[0])

        def read(self, i: int):
            if i == first:
                raise UserError("broken")
            return original(self, i)

        original = type(dataset).__getitem__
        monkeypatch.setattr(type(dataset), "__getitem__", read)
        assert [len(images) for images, _ in testing._batches(run)] == [1]


def test_the_copy_waits_for_no_other_process(recipe):
    options = replace(recipe.options, norm="batch")
    with trial_run(replace(recipe, options=options)) as run:
        norms = [module for module in run.copy_of_model().modules() if isinstance(module, BatchNorm2d)]
        assert len(norms) > 0
        assert all(norm.local for norm in norms)
        assert not any(getattr(module, "local", False) for module in run.model.modules())


def test_a_rate_far_too_high_is_found_out(recipe):
    wild = replace(recipe, optimizer=replace(recipe.optimizer, lr=1e6, clip_norm=1e9))
    with trial_run(wild) as run:
        found = overfit_test(run, seconds=5)
    assert found.passed is False
    assert "lower --optimizer.lr" in str(found)


def test_the_training_is_the_same_to_the_bit(recipe, monkeypatch, tmp_path, capsys):
    recipe, found = replace(recipe, epochs=1), []
    monkeypatch.setattr(training, "overfit_test", lambda state: overfit_test(state, seconds=0.2))
    for overfit in ("if long", "always"):  # six updates do not make a long run
        output = training.train(replace(recipe, output=str(tmp_path / overfit)), overfit=overfit)
        found.append(load(Path(output) / "last.safetensors").state_dict())
        assert ("overfit test" in capsys.readouterr().err) == (overfit == "always")
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_which_runs_are_tested():
    assert [training._is_tested("if long", updates) for updates in (500, 501)] == [False, True]
    assert [training._is_tested("never", 10**6), training._is_tested("always", 1)] == [False, True]
