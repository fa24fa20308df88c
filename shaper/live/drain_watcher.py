"""Who reads: sockets that data was delivered to are watched until their processes have read it all.

The kernel tells how many bytes wait in a socket when it is asked (sock_diag(7), as ss(8) does
it), in some 15 us. There is no event for the moment at which they are read, so it is looked
again and again: soon at first, since most drain_watcher are quick, then less and less often.
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

SOONEST, LATEST = 100 * us, 10 * ms
"""A look comes so long after a delivery or the look before; in between, an eighth of what was waited already."""
SHARE = 10
"""Looks take one part in so many of the time at most, however many sockets there are."""

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
    """The sockets that data was delivered to and, as far as is known, is still in.

    Raises:
        ShaperError: this kernel doesn't tell of its sockets.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
        self._timer = TimerFD()
        self._since: dict[Flow, int] = {}
        self._next: int | None = None
        if not self._is_answered():
            self.close()
            raise ShaperError(
                "this kernel tells nothing of its sockets, so nobody sees them read; try modprobe tcp_diag"
            )

    def fileno(self) -> int:
        """Readable when it is time for a `look`."""
        return self._timer.fileno()

    def delivered(self, verdicts: Sequence[Verdict], now: int) -> None:
        """These verdicts were carried out: watch where payload went."""
        for verdict in verdicts:
            packet = verdict.packet
            if verdict.fate != "dropped" and packet.tcp is not None and packet.tcp.payload:
                self._since[packet.flow] = now
                if self._next is None or self._next > now + SOONEST:
                    self._look_at(now + SOONEST)

    def look(self, now: int) -> list[Flow]:
        """The flows whose sockets are empty, when it is time to look; they and those gone are watched no longer."""
        if self._next is None or now < self._next:
            return []
        drained = []
        for flow in list(self._since):
            waiting = self.waiting(flow)
            if not waiting:
                del self._since[flow]
            if waiting == 0:
                drained.append(flow)
        if self._since:
            waited = now - max(self._since.values())
            spent = time.monotonic_ns() - now
            self._look_at(now + max(min(max(SOONEST, waited // 8), LATEST), SHARE * spent))
        else:
            self._look_at(None)
        return drained

    def waiting(self, flow: Flow) -> int | None:
        """How many bytes the socket that this flow goes to holds unread; None where there is none."""
        answer = self._ask(flow)
        if answer is None:
            return None
        state, waiting = answer
        return None if state == LISTEN else waiting

    def close(self) -> None:
        self._socket.close()
        self._timer.close()

    def _look_at(self, at: int | None) -> None:
        self._next = at
        self._timer.set(at)

    def _is_answered(self) -> bool:
        """Whether the kernel tells of a socket that is there."""
        with socket.socket() as own:
            own.bind(("127.0.0.1", 0))
            own.listen(1)
            return self._ask(Flow("tcp", "127.0.0.1", 1, *own.getsockname())) is not None

    def _ask(self, flow: Flow) -> tuple[int, int] | None:
        """State and unread bytes of the socket at a flow's destination; None where there is none."""
        own, peer = ip_address(flow.destination).packed, ip_address(flow.source).packed
        family = socket.AF_INET if len(own) == 4 else socket.AF_INET6
        request = _request.pack(family, TCP, 0, 0, 0xFFFFFFFF) + _ports.pack(flow.dport, flow.sport)
        request += own.ljust(16, b"\0") + peer.ljust(16, b"\0") + _any_interface_and_cookie
        length = _header.size + len(request)
        self._socket.send(_header.pack(length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0) + request)
        answer = self._socket.recv(8192)
        if _kind.unpack_from(answer)[0] != SOCK_DIAG_BY_FAMILY:
            return None
        _, state, waiting = _answer.unpack_from(answer)
        return state, waiting
