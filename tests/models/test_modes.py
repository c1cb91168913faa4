"""Evaluation mode ends with the block, whatever happens in it."""

import pytest
from torch import nn

from cascade_rcnn.models.modes import evaluating


def test_each_part_has_its_own_mode_again():
    module = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    module[1].eval()  # frozen, in a module that trains
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == [True, True, False]


def test_also_after_an_error():
    module = nn.Linear(1, 1)
    with pytest.raises(ZeroDivisionError), evaluating(module):
        raise ZeroDivisionError
    assert module.training


class Switched(nn.Module):
    """A part whose `train` does more than set the mode, as that of timm's networks with checkpointing."""

    def train(self, mode: bool = True) -> "Switched":
        self.on = mode
        return super().train(mode)


def test_what_a_part_s_own_train_has_changed_is_undone():
    module = nn.Sequential(Switched(), nn.BatchNorm1d(1)).train()
    module[1].eval()
    with evaluating(module):
        assert not module[0].on
    assert module[0].on
    assert [part.training for part in module.modules()] == [True, True, False]
