"""Errors that reach the user: one line that says what is wrong and what to do."""


class ShaperError(Exception):
    """Something failed; exit status 1."""

    details = ""
    """What `--debug` shows instead of this error's own traceback."""


class UsageError(ShaperError):
    """What was asked for can't be done as it was asked; exit status 2."""
