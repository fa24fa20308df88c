"""One NFQUEUE: packets are taken from the kernel and answered with verdicts.

NetfilterQueue receives; its `accept` would cost one system call per packet, so verdicts
are written to its socket as netlink messages, many at once (see netlink.py).
"""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Sequence

from netfilterqueue import COPY_PACKET, NetfilterQueue
from netfilterqueue import Packet as Message

from shaper.errors import ShaperError
from shaper.live import netlink
from shaper.live.privileges import CAP_NET_ADMIN, can
from shaper.packet import Packet
from shaper.verdict import Verdict

HEADERS = 128
"""Copied where the whole pipeline looks at headers only: IPv6 with extensions and TCP with options."""
WHOLE = netlink.MAX_PAYLOAD
"""Copied where some policy looks at, or changes, what follows them."""
FITS = 3900
"""NetfilterQueue's buffer, 4096 bytes, has room for this much of a packet beside all its metadata."""
READ_SIZE = WHOLE + 1024

MAX_LENGTH = 0xFFFF
"""The kernel holds no more packets in one queue, see NFQNL_QMAX_DEFAULT and its check."""

NUMBERS = range(100, 1000)
"""Tried in order when a free number is to be found."""

ALL_AT_ONCE = 64 * 1024
"""Bytes of verdicts in one write; the socket's send buffer limits a write to some 200 kB."""

SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_TIMESTAMP = 29


class QueueError(ShaperError):
    """The queue can't be had."""


class QueueInUse(QueueError):
    """Another program, or a part of this one, is bound to that number."""


class _Enough(Exception):
    """As many packets were taken as were asked for."""


class Queue:
    """One NFQUEUE, bound through NetfilterQueue.

    Args:
        number: the queue's number, 0 to 65535.
        copy_range: how many bytes of each packet to copy, HEADERS or WHOLE.
        length: how many packets may await their verdict.
        buffer: bytes of the socket's receive buffer to ask for.
        fail_open: packets pass unshaped, rather than being dropped, when the queue is full.
        gso: take segments that the sender left uncut, up to 64 kB, whole.

    Attributes:
        buffer: bytes of the receive buffer really got; the kernel counts its own overhead in.

    Raises:
        QueueError: the number is in use, no permission, no kernel support.
    """

    def __init__(
        self, number: int, *, copy_range: int, length: int, buffer: int, fail_open: bool = True, gso: bool = False
    ) -> None:
        self.number = number
        self._taken: list[Packet] = []
        self._limit = 0
        self._offset = 0
        self._last_arrival = 0
        self._verdicts = netlink.VerdictMessages(number)
        self._netfilter = _open()
        self._bind(length, min(copy_range, FITS), buffer)
        self._fd: int = self._netfilter.get_fd()
        os.set_inheritable(self._fd, False)
        self._socket = _WholeReads(socket.AF_NETLINK, socket.SOCK_RAW, fileno=os.dup(self._fd))
        # Else the kernel, after one packet too many, takes none until all that wait were read.
        self._socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        self.buffer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        flags = netlink.FAIL_OPEN * fail_open | netlink.GSO * gso
        os.write(self._fd, netlink.set_flags(number, flags, netlink.FAIL_OPEN | netlink.GSO))
        self._whole = copy_range > FITS
        if self._whole:
            os.write(self._fd, netlink.copy_mode(number, min(copy_range, WHOLE)))
        # The kernel stamps arriving packets while some socket asks for it; this one never receives any.
        self._stamping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stamping.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)

    def _bind(self, length: int, copy_range: int, buffer: int) -> None:
        try:
            with warnings.catch_warnings():
                # It warns where the buffer is smaller than asked; we tell what was got.
                warnings.simplefilter("ignore", RuntimeWarning)
                self._netfilter.bind(self.number, self._receive, length, COPY_PACKET, copy_range, buffer)
        except OSError as error:
            if "create" not in str(error):
                raise QueueError(f"queue {self.number} can't be set up: {error}") from error
            raise QueueInUse(f"queue {self.number} is in use; choose another with --queue, or leave it away") from error

    def fileno(self) -> int:
        """The queue's socket: readable while packets wait to be taken."""
        return self._fd

    def take(self, limit: int) -> list[Packet]:
        """The packets that came since, in their order; at most so many."""
        taken = self._taken = []
        self._limit = limit
        self._offset = time.time_ns() - time.monotonic_ns()
        try:
            if self._whole:
                self._netfilter.run_socket(self._socket)
            else:
                self._netfilter.run(block=False)
        except _Enough:
            pass
        return taken

    def _receive(self, message: Message) -> None:
        now = time.monotonic_ns()
        stamp = message.get_timestamp()
        arrived = int(stamp * 1e9) - self._offset if stamp else now
        if arrived > now:
            arrived = now  # the clock was set
        elif arrived < self._last_arrival:
            arrived = self._last_arrival  # packets from two CPUs, stamped before they were put in a row
        self._last_arrival = arrived
        taken = self._taken
        packet = Packet(message.get_payload(), message.id, arrived)
        packet.taken = now
        taken.append(packet)
        if len(taken) >= self._limit:
            raise _Enough

    def answer(self, verdicts: Sequence[Verdict], at: int = 0) -> None:
        """Give these verdicts, in their order, in as few system calls as can be; none may be injected.

        The last write waits for a time (ns), watching the clock.
        """
        accept, drop, pack_id = self._verdicts.accept, self._verdicts.drop, netlink.pack_id
        parts: list[bytes] = []
        rewritten = 0
        for packet, fate, _ in verdicts:
            if fate == "dropped":
                parts += drop, pack_id(packet.id)
            elif packet.origin is None or packet.raw is packet.origin.raw:
                parts += accept, pack_id(packet.id)
            else:
                parts.append(self._verdicts.rewrite(packet.id, packet.raw))
                rewritten += len(packet.raw)
            if rewritten >= ALL_AT_ONCE or len(parts) >= 512:
                os.write(self._fd, b"".join(parts))
                parts.clear()
                rewritten = 0
        if parts:
            data = b"".join(parts)
            while time.monotonic_ns() < at:
                pass
            os.write(self._fd, data)

    def close(self) -> None:
        """Give the queue up; packets that are still in it go on."""
        # An engine that an error ended may not know of all, and unbinding drops them.
        os.write(self._fd, netlink.accept_all(self.number))
        self._netfilter.unbind()
        self._stamping.close()
        self._socket.close()


class _WholeReads(socket.socket):
    """Reads for NetfilterQueue where its own buffer is too short; that costs 1 us more per packet."""

    def recv(self, _size: int, _flags: int = 0) -> bytes:
        return super().recv(READ_SIZE, socket.MSG_DONTWAIT)


def open_queue(
    number: int | None, *, copy_range: int, length: int, buffer: int, fail_open: bool = True, gso: bool = False
) -> Queue:
    """The queue of that number, or of the first free one of NUMBERS; see `Queue`.

    Raises:
        QueueError: the number is in use, no permission, no kernel support.
    """
    for candidate in NUMBERS if number is None else (number,):
        try:
            return Queue(candidate, copy_range=copy_range, length=length, buffer=buffer, fail_open=fail_open, gso=gso)
        except QueueInUse:
            if number is not None:
                raise
    raise QueueError(f"the queues {NUMBERS[0]} to {NUMBERS[-1]} are all in use; choose another with --queue")


def _open() -> NetfilterQueue:
    try:
        return NetfilterQueue()
    except OSError as error:
        if can(CAP_NET_ADMIN):
            why = "this kernel has no NFQUEUE (try `modprobe nfnetlink_queue`); `shaper doctor` says more"
        else:
            why = "no permission to bind a queue; run as root, or use `shaper run`"
        raise QueueError(why) from error
