"""Errors of torch become one line that says what to do."""

import pytest
import torch
from torch import nn

from cascade_rcnn.engine.training.failures import lone_value, missing_operator


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (NotImplementedError("The operator 'aten::x' is not currently implemented for the MPS device.\nMore"), True),
        (TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."), True),
        (TypeError("f() takes no arguments"), False),
        (NotImplementedError("abstract"), False),
        (RuntimeError("MPS backend out of memory"), False),
    ],
)
def test_an_operator_that_apple_s_gpu_lacks_is_named_with_the_way_out(error, known):
    found = missing_operator(error)
    assert (found is not None) == known
    if found is not None:
        assert ("PYTORCH_ENABLE_MPS_FALLBACK=1" in str(found)) == isinstance(error, NotImplementedError)
        assert "--accelerator cpu" in str(found)
        assert str(error).partition("\n")[0][:60] in str(found)
        assert "\n" not in str(found)


def test_a_batch_too_small_to_normalise_is_one_line():
    with pytest.raises(ValueError, match="Expected more than 1 value") as caught:
        nn.BatchNorm2d(4)(torch.zeros(1, 4, 1, 1))
    found = lone_value(caught.value)
    assert found is not None
    assert "--batch-size 2 or more" in str(found)
    assert "\n" not in str(found)
    assert lone_value(ValueError("something else")) is None
