"""The device that a model runs on, and copies to it."""

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


def send(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy to the device without waiting for a GPU, where that is safe: pinned memory must be kept until it has waited.

    A copy to a CPU could be read too early, and Apple's GPU would read ordinary memory that has been freed.
    """
    return x.to(device, non_blocking=device.type not in ("cpu", "mps"))


def _why(error: RuntimeError | AssertionError) -> str:
    """Return the reason, without torch's lists of everything that it supports somewhere."""
    if isinstance(error, NotImplementedError):
        return "this build of torch does not support it"
    why = reason(error)
    return "there is no such device" if why.startswith("Expected one of") else why
