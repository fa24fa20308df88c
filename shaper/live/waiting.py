"""Waiting for packets or for a deadline, whichever comes first, to a few microseconds.

While packets come the engine waits in ppoll(2), which takes its time-out in nanoseconds
and costs one system call; trio's way round costs ten times as much. For long pauses trio
waits, for an epoll that joins the queue with a timerfd: a trio deadline would be up to a
millisecond late, since trio's own epoll counts in milliseconds.

A sleeper wakes late, by 10 us on a warm CPU and by 100 us on one that slept deeply. So it
is woken early, by its `lead`, and the rest of the time is spent watching the clock.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_ulong
from typing import Literal, NamedTuple

from shaper.linux.libc import PollFD, TimeSpec, ppoll, prctl
from shaper.linux.timerfd import SECOND, TimerFD
from shaper.live.choices import Timing
from shaper.units import us

Reason = Literal["packets", "deadline"]
"""What ended a sleep."""


class Gathering(NamedTuple):
    """How packets that go on in quick succession are kept together, so that there are fewer turns, with more to do.

    Attributes:
        frequent: they go on so shortly after each other, on average, in ns.
        longest: then the next may gather for so long, in ns.
        missed: a deadline is missed by so much for that, at most, in ns.
    """

    frequent: int
    longest: int
    missed: int


GATHERING: dict[Timing, Gathering] = {
    "precise": Gathering(0, 0, 0),
    "balanced": Gathering(25 * us, 60 * us, 30 * us),
    "thrifty": Gathering(100 * us, 100 * us, 100 * us),
}
LONGEST_LEAD = 120 * us
ROUND = 300 * us
"""How long before a deadline trio's way round is to begin, so that the rest of the time can be waited for in ppoll."""
SPARE = 5 * us
"""How much earlier than waking up takes a balanced sleeper is woken."""
DEAF = 100 * us
"""So close to a deadline, packets may wait for it to be taken when those before them were all held."""
PR_SET_TIMERSLACK = 29


@contextmanager
def exact_timers() -> Iterator[None]:
    """In here the kernel doesn't put this thread's timers off by 50 us to join them with others, see prctl(2)."""
    prctl(PR_SET_TIMERSLACK, 1)
    try:
        yield
    finally:
        prctl(PR_SET_TIMERSLACK, 0)  # the default


class Waiting:
    """Waits for packets and for one deadline.

    Args:
        sockets: the queue's, and what else is to wake it.
        timing: see `Timing`.

    Attributes:
        lead: how long before a deadline a sleeper is woken, in ns.
        frequent: see `Gathering`; 0 if packets are never to gather.
    """

    def __init__(self, sockets: Sequence[int], timing: Timing) -> None:
        self.lead = 0 if timing == "thrifty" else LONGEST_LEAD
        self._round = 0 if timing == "thrifty" else ROUND
        self._adapts = timing == "balanced"
        self._gathering = GATHERING[timing]
        self.frequent = self._gathering.frequent
        self._timeout = TimeSpec()
        self._watched = c_ulong()
        self._all = len(sockets)
        polled = (PollFD * self._all)(*(PollFD(socket, select.POLLIN) for socket in sockets))
        self._ppoll, self._arguments = ppoll(polled, self._watched, self._timeout)
        self._timer = TimerFD()
        self._epoll = select.epoll()
        for socket in sockets:
            self._epoll.register(socket, select.EPOLLIN)
        self._epoll.register(self._timer.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when packets have come or what `set` was told is near."""
        return self._epoll.fileno()

    def set(self, deadline: int | None) -> None:
        """Let `fileno` become readable shortly before this time (ns)."""
        self._timer.set(None if deadline is None else deadline - self._round)

    def sleep(self, deadline: int | None, until: int, *, all_held: bool) -> Reason | None:
        """Wait for packets, or until shortly before the deadline; returns what came, None if neither did by `until`.

        Args:
            deadline: in ns.
            until: in ns.
            all_held: no packet that came last went on at once.
        """
        now, wakes = time.monotonic_ns(), until
        reason: Reason | None = None
        if deadline is not None and deadline - self.lead <= until:
            wakes, reason = deadline - self.lead, "deadline"
        elif deadline is not None:
            wakes = min(until, deadline - self._round)
        is_deaf = reason == "deadline" and all_held and self.frequent > 0 and wakes - now < DEAF
        if self._sleep(wakes - now, for_packets=not is_deaf):
            return "packets"
        return reason

    def gather(self, deadline: int | None, now: int) -> None:
        """Let packets come, and time go on, for a moment."""
        _, longest, missed = self._gathering
        duration = longest if deadline is None else min(max(deadline - now, missed), longest)
        self._sleep(duration, for_packets=False)

    def _sleep(self, duration: int, *, for_packets: bool) -> bool:
        self._watched.value = self._all if for_packets else 0
        self._timeout.tv_sec, self._timeout.tv_nsec = divmod(max(duration, 0), SECOND)
        return self._ppoll(*self._arguments) > 0

    def woken(self, early: int) -> None:
        """Who slept till shortly before a deadline could begin to act so long (ns) before it was needed."""
        if self._adapts:
            # Up at once, down slowly.
            change = SPARE - early
            self.lead = min(self.lead + (change >> 2 if change > 0 else change >> 6), LONGEST_LEAD)

    def close(self) -> None:
        self._epoll.close()
        self._timer.close()
