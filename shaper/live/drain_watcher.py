"""Watches the sockets that data was delivered to, until their processes have read it all.

Asked for one socket, the kernel says in some 15 us how many bytes wait in it (sock_diag(7), as ss(8) does). It has no
event for the moment at which they are read, so it is asked again and again: soon at first, since most readers are
quick, then less and less often.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from ipaddress import ip_address
from struct import Struct

from shaper.core.verdict import Verdict
from shaper.errors import ShaperError
from shaper.linux.timerfd import TimerFD
from shaper.units import ms, us
from shaper.wire.flow import Flow
from shaper.wire.header import TCP

SHORTEST_INTERVAL, LONGEST_INTERVAL = 100 * us, 10 * ms
"""The time (ns) from a delivery or a look to the next look; between these, an eighth of the time waited so far."""
IDLE_FACTOR = 10
"""After a look comes a pause of at least this many times its duration, however many sockets there are."""

# linux/netlink.h, linux/sock_diag.h, net/tcp_states.h
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1
LISTEN = 10

# linux/inet_diag.h: inet_diag_req_v2 behind the message's header, and inet_diag_msg.
_header = Struct("=IHHII")  # length, type, flags, sequence, port
_request = Struct("=BBBBI")  # family, protocol, extensions, padding, states
_ports = Struct(">HH")  # the socket's own, its peer's
_any_interface_and_cookie = Struct("=III").pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
_answer = Struct("=16xBB54xI")  # family, state, bytes that wait
_kind = Struct("=4xH")


class DrainWatcher:
    """The sockets that data was delivered to and, as far as is known, still waits in.

    Raises:
        ShaperError: this kernel gives no information about sockets.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
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
        answer = self._ask(flow)
        if answer is None:
            return None
        state, unread = answer
        return None if state == LISTEN else unread

    def close(self) -> None:
        """Give the sockets up."""
        self._socket.close()
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

    def _ask(self, flow: Flow) -> tuple[int, int] | None:
        """State and unread bytes of the socket at a flow's destination; None if there is none."""
        own, peer = ip_address(flow.destination).packed, ip_address(flow.source).packed
        family = socket.AF_INET if len(own) == 4 else socket.AF_INET6
        request = _request.pack(family, TCP, 0, 0, 0xFFFFFFFF) + _ports.pack(flow.dport, flow.sport)
        request += own.ljust(16, b"\0") + peer.ljust(16, b"\0") + _any_interface_and_cookie
        length = _header.size + len(request)
        self._socket.send(_header.pack(length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0) + request)
        answer = self._socket.recv(8192)
        if _kind.unpack_from(answer)[0] != SOCK_DIAG_BY_FAMILY:
            return None
        _, state, unread = _answer.unpack_from(answer)
        return state, unread
