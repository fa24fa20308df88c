"""Messages about a run while it lasts: each is given once, so that no log fills up."""

from __future__ import annotations

from collections.abc import Callable

from shaper.core.failure import Failure, Failures


class Notices:
    """Gives each message once.

    Args:
        failed: called with the first failure of each policy.
        warned: called with each other message, one line.
    """

    def __init__(self, failed: Callable[[Failure], None], warned: Callable[[str], None]) -> None:
        self._failed = failed
        self._warned = warned
        self._seen = 0
        self._policies: set[str] = set()
        self._is_full = False

    def failures(self, failures: Failures) -> None:
        """Report what is new among all failures so far."""
        for failure in failures[self._seen :]:
            if failure.policy not in self._policies:
                self._policies.add(failure.policy)
                self._failed(failure)
        self._seen = len(failures)

    def held(self, packets: int, *, length: int, fail_open: bool) -> None:
        """Warn when the packets held fill more than half of a queue of this length."""
        if packets > length // 2 and not self._is_full:
            self._is_full = True
            fate = "pass unshaped" if fail_open else "are dropped"
            self._warned(f"{packets} packets are held, and beyond {length} they {fate}: lower the hold or the rate")

    def rules_lost(self, times: int) -> None:
        """Warn that the rules were set again, this number of times so far; only at the 1st, 2nd, 4th, 8th … time."""
        if times.bit_count() == 1:
            again = f", for the {times}th time" if times > 2 else ""
            self._warned(f"another program removed shaper's rules; they are set again{again}")
