"""The check that weights fit a module."""

import torch

from cascade_rcnn.models.state_dicts import mismatch

OWN = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}


def test_what_fits_has_no_mismatch():
    assert mismatch({"b": torch.ones(4), "a": torch.ones(2, 3)}, OWN) == ""


def test_the_first_mismatch_is_named_and_the_others_are_counted():
    assert mismatch({"a": torch.zeros(2, 3)}, OWN) == "'b' is missing"
    assert mismatch(OWN | {"c": torch.zeros(1)}, OWN) == "'c' is unexpected"
    assert mismatch(OWN | {"b": torch.zeros(5)}, OWN) == "'b' is (5,) where the model has (4,)"
    assert mismatch({"c": torch.zeros(1), "b": torch.zeros(5)}, OWN) == "'a' is missing (and 2 more)"
