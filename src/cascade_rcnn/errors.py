"""The one error for a user's mistake: what is wrong, where, and what to do, in one line."""

import difflib
from collections.abc import Sequence


class UserError(ValueError):
    """A mistake the user can mend. The command line prints its one line and no traceback."""


def nearest(name: str, known: Sequence[str]) -> str:
    """The hint "; did you mean 'x'?" for a name cut short or misspelt, or nothing."""
    match = [x for x in known if name and x.startswith(name)] or difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean '{match[0]}'?" if match else ""
