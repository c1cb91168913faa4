"""Evaluation mode for the time of a detection."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode; afterwards, also after an error, each part has its own mode again.

    Parts can differ from the whole, such as batch norms that the user has frozen with `eval()`.
    """
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        module.train(before[0][1])  # also undoes what an own `train` of a part has changed, such as checkpointing
        for part, was_training in before:
            part.training = was_training
