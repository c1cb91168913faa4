"""Trial runs and the timing of a few updates."""

from dataclasses import replace
from pathlib import Path

import torch

from cascade_rcnn.engine.training.trial_run import seconds_per_update, trial_run
from cascade_rcnn.recipes import Recipe


def test_timing_moves_no_weight(recipe: Recipe):
    with trial_run(recipe) as run:
        before = {name: value.clone() for name, value in run.model.named_parameters()}
        assert 0 < seconds_per_update(run) < 60
        torch.testing.assert_close(dict(run.model.named_parameters()), before, rtol=0, atol=0)
        assert run.position.step == 0


def test_a_trial_is_the_recipe_s_run_elsewhere(recipe: Recipe):
    with trial_run(recipe) as run:
        assert run.recipe == replace(recipe, output=run.recipe.output)
        assert run.total_steps == 12  # two epochs of six batches
        assert (run.output / "recipe.json").is_file()
    assert not run.output.exists()
    assert not Path(recipe.output).exists()
