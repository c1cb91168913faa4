"""The device that a model runs on."""

import torch

from cascade_rcnn.errors import UserError, reason


def choose_device(name: str | torch.device | None) -> torch.device:
    """Return the named device, by default a GPU if there is one. Raises UserError if it cannot compute here."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros((), device=device).item()  # the meta device has no values
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name}: cannot be used here ({_why(error)}); give cpu, cuda or mps") from None
    return device


def _why(error: RuntimeError | AssertionError) -> str:
    """Return the reason, without torch's lists of everything that it supports somewhere."""
    if isinstance(error, NotImplementedError):
        return "this build of torch does not support it"
    why = reason(error)
    return "there is no such device" if why.startswith("Expected one of") else why
