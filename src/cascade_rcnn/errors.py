"""The one error for a user's mistake: what is wrong, where, and what to do, in one line."""


class UserError(ValueError):
    """A mistake the user can mend. The command line prints its one line and no traceback."""
