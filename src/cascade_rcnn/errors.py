"""The one error for a user's mistake: what is wrong, where, and what to do, in one line."""

import difflib
from collections.abc import Sequence

_NEAR = 0.7  # of 1: two letters of seven may differ


class UserError(ValueError):
    """A mistake the user can mend. The command line prints its one line and no traceback.

    >>> create_model("cascade_rcnn_resnet5_fpn", 3)
    Traceback (most recent call last):
    cascade_rcnn.errors.UserError: no model is called 'cascade_rcnn_resnet5_fpn'; did you mean ...
    """


class UsageError(UserError):
    """A command, or a word of it, that does not exist; ends with code 2, as unknown flags do."""


def nearest(name: str, known: Sequence[str]) -> str:
    """The hint "; did you mean 'x'?" for a name cut short or misspelt, or nothing where none is near."""
    match = [x for x in known if len(name) > 1 and x.startswith(name)]
    match = match or difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
    return f"; did you mean '{match[0]}'?" if match else ""
