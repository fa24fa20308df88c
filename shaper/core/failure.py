"""Failures of policies: what went wrong, and where in their files."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from shaper.errors import ShaperError
from shaper.policy.base import Policy


class PolicyError(Exception):
    """A policy said something that can't be done."""


FAULTS = (Exception, SystemExit)
"""What a hook may raise and only its policy fails; KeyboardInterrupt is the user's."""
KEPT = 10
"""So many failures of each policy are kept, with their tracebacks."""


class PoliciesFailed(ShaperError):
    """Policies failed while packets went on; one line for the first."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        count = failures.total if isinstance(failures, Failures) else len(failures)
        more = f" (and {count - 1} more failures)" if count > 1 else ""
        super().__init__(f"{failures[0]}{more}")
        self.details = "\n".join(failure.details for failure in failures)


class Failure(NamedTuple):
    """A policy that failed, and where in its file."""

    policy: str
    where: str  # file:line
    what: str
    details: str  # the traceback

    def __str__(self) -> str:
        return f"policy {self.policy} failed at {self.where}: {self.what}"


class Failures(list[Failure]):
    """The first failures of each policy: one that fails for every new flow, for days, fills no memory.

    Attributes:
        total: how many there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self._of: Counter[str] = Counter()

    def append(self, failure: Failure) -> None:
        """Count it, and keep it unless its policy has failed often enough to be known."""
        self.total += 1
        self._of[failure.policy] += 1
        if self._of[failure.policy] <= KEPT:
            super().append(failure)


def failure_of(policy: type[Policy], name: str, error: Exception | SystemExit, hook: str) -> Failure:
    """Says where in the policy's own file it went wrong; at least which hook it was."""
    # What the hook's variables hold may be all the memory there is.
    traceback.clear_frames(error.__traceback__)
    code = getattr(policy, hook).__code__
    files = {code.co_filename, getattr(sys.modules.get(policy.__module__), "__file__", None)}
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    where = f"{own[-1].filename}:{own[-1].lineno}" if own else f"{code.co_filename}:{code.co_firstlineno}"
    what = str(error) if isinstance(error, PolicyError) else f"{type(error).__name__}: {error}"
    return Failure(name, where, what, "".join(traceback.format_exception(error)))
