"""Errors that users see: one line that says what is wrong and what to do."""


class ShaperError(Exception):
    """Something failed."""

    status = 1
    """The exit status."""
    details = ""
    """What `--debug` shows instead of this error's own traceback; empty: show that traceback."""


class UsageError(ShaperError):
    """The command can't be carried out as it was given."""

    status = 2
