"""The timing of a few updates."""

import torch

from cascade_rcnn.engine.training.launch import launch
from cascade_rcnn.engine.training.prepare import prepare
from cascade_rcnn.engine.training.timing import seconds_per_update
from cascade_rcnn.recipes import Recipe


def test_it_takes_time_and_moves_no_weight(recipe: Recipe):
    run, _ = prepare(recipe, launch(recipe), resume=False)
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    assert 0 < seconds_per_update(run) < 60
    assert all(torch.equal(value, before[name]) for name, value in run.model.named_parameters())
    assert run.position.step == 0
