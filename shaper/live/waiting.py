"""Waiting for packets or for a deadline, whichever comes first, to a few microseconds.

While packets come, the engine waits in ppoll(2), which takes its timeout in nanoseconds and costs one system call;
to wait through trio costs ten times as much. In long pauses trio waits, for an epoll that joins the queue with a
timerfd: a deadline of trio's own would be up to a millisecond late, since its epoll counts in milliseconds.

A sleeper wakes late, by 10 us on a warm CPU and by 100 us on one that slept deeply. So it is woken early, by `lead`,
and watches the clock for the rest of the time.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_ulong
from typing import Literal, NamedTuple

from shaper.core.instances import NEVER
from shaper.linux.libc import PollFD, TimeSpec, ppoll, prctl
from shaper.linux.timerfd import SECOND, TimerFD
from shaper.live.choices import Timing
from shaper.units import us

Reason = Literal["packets", "deadline", "others"]
"""What ended a sleep; `others`: another task of this process has something to do."""


class Gathering(NamedTuple):
    """How packets that go on in quick succession are gathered, so that fewer turns have more to do.

    Attributes:
        frequent: packets are gathered when they go on less than this after each other, on average, in ns.
        longest: how long the next ones are waited for, in ns.
        missed: by how much a deadline may be missed for that, in ns.
        look: how long the engine looks out for the next packet, when the last one came as soon after the one before,
            in ns.
    """

    frequent: int
    longest: int
    missed: int
    look: int


GATHERING: dict[Timing, Gathering] = {
    "precise": Gathering(0, 0, 0, 25 * us),
    "balanced": Gathering(25 * us, 60 * us, 15 * us, 25 * us),
    "thrifty": Gathering(100 * us, 100 * us, 100 * us, 0),
}
LONGEST_LEAD = 120 * us
TRIO_MARGIN = 300 * us
"""How long before a deadline trio wakes the engine, so that it can wait for the rest of the time in ppoll."""
WAKE_MARGIN = 5 * us
"""By how much the lead of balanced timing is longer than waking up takes."""
MOST_LONGER = 8 * us
"""By how much the lead becomes longer at once, at most."""
UNDISTURBED = 100 * us
"""When a deadline is closer than this and the last packets were all held, new packets don't end the sleep."""
LONGEST_AWAKE = 600 * us
"""For how long (ns) at most balanced timing watches the clock while packets are held, until it takes a nap."""
NAP = 60 * us
"""How long a nap is, in ns. From who never sleeps, schedulers take the CPU for milliseconds; hypervisors do, too."""
PR_SET_TIMERSLACK = 29


@contextmanager
def exact_timers() -> Iterator[None]:
    """In here the kernel doesn't delay this thread's timers, by up to 50 us, to join them with others: prctl(2)."""
    prctl(PR_SET_TIMERSLACK, 1)
    try:
        yield
    finally:
        prctl(PR_SET_TIMERSLACK, 0)  # the default


class Waiting:
    """Waits for packets and for one deadline.

    Args:
        sockets: descriptors; it is woken when one of them is readable.
        timing: see `Timing`.
        others: descriptors that other tasks of this process wait for, which end a sleep, too.

    Attributes:
        lead: how long before a deadline a sleeper is woken, in ns.
        frequent, look: see `Gathering`; 0 if packets are never to gather, or never looked out for.
        tired_at: when the next nap is due, in ns; only balanced timing takes any.
    """

    def __init__(self, sockets: Sequence[int], timing: Timing, others: Sequence[int] = ()) -> None:
        self.lead = 0 if timing == "thrifty" else LONGEST_LEAD
        self._round = 0 if timing == "thrifty" else TRIO_MARGIN
        self._adapts = timing == "balanced"
        self.tired_at = 0 if self._adapts else NEVER
        self._gathering = GATHERING[timing]
        self.frequent, self.look = self._gathering.frequent, self._gathering.look
        self._oversleep = 0  # how much longer than wanted it slept lately while packets gathered, in ns; balanced alone
        self._timeout = TimeSpec()
        self._watched = c_ulong()
        self._timer = TimerFD()
        self._epoll = select.epoll()
        self._epoll.register(self._timer.fileno(), select.EPOLLIN)
        self._others = list(others)
        self._sockets: list[int] = []
        for socket in sockets:
            self.watch(socket)

    def watch(self, socket: int) -> None:
        """From now on it is woken when this descriptor is readable, too."""
        self._sockets.append(socket)
        self._epoll.register(socket, select.EPOLLIN)
        watched = self._others + self._sockets
        self._all = len(watched)
        polled = (PollFD * self._all)(*(PollFD(each, select.POLLIN) for each in watched))
        self._of_others = [polled[nth] for nth in range(len(self._others))]
        self._ppoll, self._arguments = ppoll(polled, self._watched, self._timeout)

    def fileno(self) -> int:
        """A descriptor that is readable when packets have come or the deadline of `set` is near."""
        return self._epoll.fileno()

    def set(self, deadline: int | None) -> None:
        """Make `fileno` readable shortly before this time (ns); None: only when packets come."""
        self._timer.set(None if deadline is None else deadline - self._round)

    def sleep(self, deadline: int | None, until: int, *, all_held: bool) -> Reason | None:
        """Wait for packets or until shortly before the deadline; returns what came, None if nothing did by `until`.

        Args:
            deadline: in ns.
            until: in ns.
            all_held: none of the packets taken last went on at once.
        """
        now, wakes = time.monotonic_ns(), until
        reason: Reason | None = None
        if deadline is not None and deadline - self.lead <= until:
            wakes, reason = deadline - self.lead, "deadline"
        elif deadline is not None:
            wakes = min(until, deadline - self._round)
        is_undisturbed = reason == "deadline" and all_held and self.frequent > 0 and wakes - now < UNDISTURBED
        ready = self._sleep(wakes - now, for_packets=not is_undisturbed)
        if not ready:
            return reason
        # A signal, too, is for others.
        return "others" if ready < 0 or any(each.revents for each in self._of_others) else "packets"

    def gather(self, deadline: int | None, now: int) -> None:
        """Sleep for a moment, if there is time, while packets gather; `deadline` and `now` are in ns."""
        _, longest, missed, _ = self._gathering
        # In time for the deadline, or for what may be missed of it: where waking takes long, it does not sleep at all.
        wakes = now + longest
        if deadline is not None:
            wakes = min(wakes, max(deadline, now + missed) - self._oversleep)
        if wakes <= now:
            self._oversleep -= self._oversleep >> 6  # so that it tries again some time
            return
        self._sleep(wakes - now, for_packets=False)
        if self._adapts:
            # One that was very late was kept from running by others.
            self._oversleep += (min(time.monotonic_ns() - wakes, LONGEST_LEAD) - self._oversleep) >> 3
            self.tired_at = now + LONGEST_AWAKE  # who gathers sleeps often, if not for long

    def nap(self) -> None:
        """Sleep, whatever comes."""
        self._sleep(NAP, for_packets=False)

    def _sleep(self, duration: int, *, for_packets: bool) -> int:
        """Returns how many descriptors are ready; negative if a signal came."""
        begin = time.monotonic_ns()
        self._watched.value = self._all if for_packets else 0
        self._timeout.tv_sec, self._timeout.tv_nsec = divmod(max(duration, 0), SECOND)
        ready = self._ppoll(*self._arguments)
        end = time.monotonic_ns()
        if self._adapts and end - begin >= NAP:
            self.tired_at = end + LONGEST_AWAKE
        return ready

    def adapt(self, early: int) -> None:
        """Adapt the lead: after the last sleep before a deadline, this much time (ns) was left to spare."""
        if self._adapts:
            # Longer soon, shorter slowly. One that was very late was kept from running by others: no lead helps there.
            change = WAKE_MARGIN - early
            self.lead = min(self.lead + (min(change >> 2, MOST_LONGER) if change > 0 else change >> 6), LONGEST_LEAD)

    def stay_awake(self) -> None:
        """The deadline is too near for a sleep. If that was so again and again, a lead too long would stay for ever."""
        if self._adapts and self.lead > MOST_LONGER:
            self.lead -= self.lead >> 8

    def close(self) -> None:
        """Give the timer and the epoll up."""
        self._epoll.close()
        self._timer.close()
