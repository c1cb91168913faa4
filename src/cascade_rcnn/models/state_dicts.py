"""Compare state dicts."""

from collections.abc import Mapping

from torch import Tensor


def mismatch(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Describe the first tensor whose name or shape differs between `state` and `own` (a module's); empty if none."""
    wrong = [f"'{name}' is missing" for name in own.keys() - state.keys()]
    wrong += [f"'{name}' is unexpected" for name in state.keys() - own.keys()]
    wrong += [
        f"'{name}' is {tuple(state[name].shape)} where the model has {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"{min(wrong)}{more}" if wrong else ""
