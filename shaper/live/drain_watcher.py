"""Watches the sockets that data was delivered to, until their processes have read it all.

Asked for one socket, the kernel says in some 15 us how many bytes wait in it (see linux/sock_diag.py). It has no
event for the moment at which they are read, so it is asked again and again: soon at first, since most readers are
quick, then less and less often.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from shaper.core.verdict import Verdict
from shaper.errors import ShaperError
from shaper.linux.sock_diag import SocketDiag, SocketInfo
from shaper.linux.timerfd import TimerFD
from shaper.units import ms, us
from shaper.wire.flow import Flow

SHORTEST_INTERVAL, LONGEST_INTERVAL = 100 * us, 10 * ms
"""The time (ns) from a delivery or a look to the next look; between these, an eighth of the time waited so far."""
IDLE_FACTOR = 10
"""After a look comes a pause of at least this many times its duration, however many sockets there are."""

LISTEN = 10
"""The state of a socket that listens, see net/tcp_states.h."""


class DrainWatcher:
    """The sockets that data was delivered to and, as far as is known, still waits in.

    Raises:
        ShaperError: this kernel gives no information about sockets.
    """

    def __init__(self) -> None:
        self._diag = SocketDiag()
        self._timer = TimerFD()
        self._since: dict[Flow, int] = {}
        self._next: int | None = None
        if not self._is_answered():
            self.close()
            raise ShaperError(
                "this kernel gives no information about sockets, so shaper can't see them read; try modprobe tcp_diag"
            )

    def fileno(self) -> int:
        """A descriptor that is readable when it is time for a `look`."""
        return self._timer.fileno()

    def delivered(self, verdicts: Sequence[Verdict], now: int) -> None:
        """These verdicts were carried out at `now` (ns): watch the sockets that got payload."""
        for verdict in verdicts:
            packet = verdict.packet
            if verdict.fate != "dropped" and packet.tcp is not None and packet.tcp.payload:
                self._since[packet.flow] = now
                if self._next is None or self._next > now + SHORTEST_INTERVAL:
                    self._look_at(now + SHORTEST_INTERVAL)

    def look(self, now: int) -> list[Flow]:
        """The flows whose sockets are now empty; none before it is time (ns) to look.

        They, and those whose sockets are gone, are watched no longer.
        """
        if self._next is None or now < self._next:
            return []
        drained = []
        for flow in list(self._since):
            unread = self.unread(flow)
            if not unread:
                del self._since[flow]
            if unread == 0:
                drained.append(flow)
        if self._since:
            waited = now - max(self._since.values())
            spent = time.monotonic_ns() - now
            self._look_at(now + max(min(max(SHORTEST_INTERVAL, waited // 8), LONGEST_INTERVAL), IDLE_FACTOR * spent))
        else:
            self._look_at(None)
        return drained

    def unread(self, flow: Flow) -> int | None:
        """How many bytes wait unread in the socket that this flow goes to; None if there is no such socket."""
        found = self._ask(flow)
        return None if found is None or found.state == LISTEN else found.unread

    def close(self) -> None:
        """Give the sockets up."""
        self._diag.close()
        self._timer.close()

    def _look_at(self, at: int | None) -> None:
        self._next = at
        self._timer.set(at)

    def _is_answered(self) -> bool:
        """Whether the kernel gives information about a socket that is there."""
        with socket.socket() as own:
            own.bind(("127.0.0.1", 0))
            own.listen(1)
            return self._ask(Flow("tcp", "127.0.0.1", 1, *own.getsockname())) is not None

    def _ask(self, flow: Flow) -> SocketInfo | None:
        """The socket at a flow's destination; None if there is none."""
        return self._diag.tcp((flow.destination, flow.dport), (flow.source, flow.sport))
