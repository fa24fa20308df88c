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
    """A policy answered with something that can't be done."""


FAULTS = (Exception, SystemExit)
"""What makes only the policy fail, if one of its hooks raises it; KeyboardInterrupt is the user's."""
KEPT = 10
"""The most failures of each policy that are kept, with their tracebacks."""


class PoliciesFailed(ShaperError):
    """Policies failed while packets went on; the message is one line, about the first failure."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        count = failures.total if isinstance(failures, Failures) else len(failures)
        more = f" (and {count - 1} more failures)" if count > 1 else ""
        super().__init__(f"{failures[0]}{more}")
        self.details = "\n".join(failure.details for failure in failures)


class Failure(NamedTuple):
    """The failure of a policy.

    Attributes:
        policy: the name of its stage.
        where: the place in its file, as FILE:LINE.
        what: the error, in one line.
        details: the traceback.
    """

    policy: str
    where: str
    what: str
    details: str

    def __str__(self) -> str:
        return f"policy {self.policy} failed at {self.where}: {self.what}"


class Failures(list[Failure]):
    """The first failures of each policy; a policy that fails for every new flow, for days, doesn't fill the memory.

    Attributes:
        total: how many failures there were, kept or not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self._by_policy: Counter[str] = Counter()

    def append(self, failure: Failure) -> None:
        """Count a failure, and keep it unless KEPT of this policy are kept already."""
        self.total += 1
        self._by_policy[failure.policy] += 1
        if self._by_policy[failure.policy] <= KEPT:
            super().append(failure)


def failure_of(policy: type[Policy], name: str, error: Exception | SystemExit, hook: str) -> Failure:
    """The failure of a policy by an error: the last line of its own file that led to it, or else the hook's first.

    Args:
        policy: its class.
        name: of its stage.
        error: what was raised.
        hook: the method that raised it.
    """
    # The hook's local variables may have filled the memory.
    traceback.clear_frames(error.__traceback__)
    code = getattr(policy, hook).__code__
    files = {code.co_filename, getattr(sys.modules.get(policy.__module__), "__file__", None)}
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    where = f"{own[-1].filename}:{own[-1].lineno}" if own else f"{code.co_filename}:{code.co_firstlineno}"
    # An error may have no text, or a long one.
    text = str(error).partition("\n")[0]
    kind = "" if isinstance(error, PolicyError) else type(error).__name__
    what = ": ".join(part for part in (kind, text) if part)
    return Failure(name, where, what, "".join(traceback.format_exception(error)))
