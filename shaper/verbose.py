"""What `--verbose` shows: what shaper sets, starts, reads and waits for, a line each on standard error."""

import sys
from contextvars import ContextVar

IS_VERBOSE = ContextVar("IS_VERBOSE", default=False)
"""Whether these lines are printed; tasks, and processes that are forked, inherit it."""


def detail(text: str) -> None:
    """Print such a line. Never called for a packet."""
    if IS_VERBOSE.get():
        print(f"shaper: {text}", file=sys.stderr, flush=True)
