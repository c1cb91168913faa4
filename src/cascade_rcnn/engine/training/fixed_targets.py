"""The losses that show whether a model learns: those whose targets do not depend on the model itself.

As the stages before it improve, a stage is trained on better boxes, more of which count as positives. Its box loss, and
with it the sum of all losses, may thus rise although the model learns.
"""

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

_NAMES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_classifier_stage1")
_Loss = TypeVar("_Loss", float, Tensor)


def fixed_target_losses(losses: Mapping[str, _Loss]) -> list[_Loss]:
    """Return the losses of the RPN, and of the classifier of the first (or only) stage."""
    return [losses[name] for name in _NAMES if name in losses]
