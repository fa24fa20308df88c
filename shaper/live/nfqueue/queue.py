"""One NFQUEUE: packets are taken from the kernel and answered with verdicts.

NetfilterQueue binds the queue. Its callback and its `accept` cost a system call and an
object for each packet, and its buffer is short; so many packets are taken from its socket
at once (see datagrams.py, layout.py), and many verdicts written (see netlink.py).
"""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Sequence
from typing import Final

from netfilterqueue import COPY_PACKET, NetfilterQueue

from shaper.core.verdict import Verdict
from shaper.errors import ShaperError
from shaper.linux.capabilities import CAP_NET_ADMIN, can
from shaper.linux.recvmmsg import Datagrams
from shaper.linux.timerfd import wait_until
from shaper.live.nfqueue import netlink
from shaper.live.nfqueue.layout import NO_PACKET, Layouts
from shaper.live.nfqueue.verdict_batches import VerdictBatches
from shaper.wire.packet import Packet

HEADERS = 128
"""Copied where the whole pipeline looks at headers only: IPv6 with extensions and TCP with options."""
WHOLE = netlink.MAX_PAYLOAD
"""Copied where some policy looks at, or changes, what follows them."""
BESIDE = 512
"""Room for all that the kernel says beside the packet itself."""
BATCH: Final = 128
"""Packets taken at once, at most."""

CLOCK_SET: Final = 1_000_000
"""When the wall clock goes on by so much (ns) more or less than CLOCK_MONOTONIC between two reads, it was set."""

NUMBERS = range(100, 1000)
"""Tried in order when a free number is to be found."""

SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_TIMESTAMP = 29


class QueueError(ShaperError):
    """The queue can't be had."""


class QueueInUse(QueueError):
    """Another program, or a part of this one, is bound to that number."""


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
        self._last_arrival = 0
        self._offset = time.time_ns() - time.monotonic_ns()
        self._layout = NO_PACKET
        self._layouts = Layouts()
        self._answers = VerdictBatches(number)
        self._netfilter = _open()
        self._bind(length, copy_range, buffer)
        self._fd: int = self._netfilter.get_fd()
        os.set_inheritable(self._fd, False)
        with socket.socket(fileno=os.dup(self._fd)) as options:
            # Else the kernel, after one packet too many, takes none until all that wait were read.
            options.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
            self.buffer = options.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._datagrams = Datagrams(self._fd, room=copy_range + BESIDE, most=BATCH)
        flags = netlink.FAIL_OPEN * fail_open | netlink.GSO * gso
        os.write(self._fd, netlink.set_flags(number, flags, netlink.FAIL_OPEN | netlink.GSO))
        # NetfilterQueue asks for 4016 bytes at most, which is what its own buffer has room for.
        os.write(self._fd, netlink.copy_mode(number, copy_range))
        # The kernel stamps arriving packets while some socket asks for it; this one never receives any.
        self._stamping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stamping.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)

    def _bind(self, length: int, copy_range: int, buffer: int) -> None:
        try:
            with warnings.catch_warnings():
                # It warns where the buffer is smaller than asked; we tell what was got.
                warnings.simplefilter("ignore", RuntimeWarning)
                # Its callback is never called, since packets are not read through it.
                self._netfilter.bind(self.number, print, length, COPY_PACKET, copy_range, buffer)
        except OSError as error:
            if "create" not in str(error):
                raise QueueError(f"queue {self.number} can't be set up: {error}") from error
            raise QueueInUse(f"queue {self.number} is in use; choose another with --queue, or leave it away") from error

    def fileno(self) -> int:
        """The queue's socket: readable while packets wait to be taken."""
        return self._fd

    def take(self) -> list[Packet]:
        """The packets that came since, in their order; BATCH at most."""
        lengths = self._datagrams.receive()
        taken: list[Packet] = []
        if not lengths:
            return taken
        clock, last = time.monotonic_ns, self._last_arrival
        seconds: int  # which spares compiled code to ask what they are
        microseconds: int
        now = clock()
        offset = time.time_ns() - now
        if abs(offset - self._offset) > CLOCK_SET:
            last = now  # by which clock these were stamped can't be told: they count as arrived now
        self._offset = offset
        slots, layout = self._datagrams.slots, self._layout
        heads, expected, _, stamped, _, reads, is_packet = layout
        for nth, length in enumerate(lengths):
            message = slots[nth]
            if heads(message) != expected:
                layout = self._layouts.of(message)
                heads, expected, _, stamped, _, reads, is_packet = layout
            if not is_packet:
                continue
            read = reads.get(length) or layout.read(length)
            if stamped:
                id, seconds, microseconds, raw = read(message)
                arrived = seconds * 1_000_000_000 + microseconds * 1000 - offset
                if arrived > now:
                    arrived = now  # the clock was set
            else:
                id, raw = read(message)
                arrived = clock()
            if arrived < last:
                arrived = last  # packets from two CPUs, stamped before they were put in a row
            last = arrived
            packet = Packet(raw, id, arrived)
            packet.taken = now
            taken.append(packet)
        self._layout, self._last_arrival = layout, last
        self._answers.expect([packet.id for packet in taken])
        return taken

    def answer(self, verdicts: Sequence[Verdict], at: int = 0) -> None:
        """Give these verdicts, in their order, in as few system calls as can be; none may be injected.

        The first write waits for a time (ns), watching the clock.
        """
        for data in self._answers.messages(verdicts):
            wait_until(at)
            os.write(self._fd, data)

    def close(self) -> None:
        """Give the queue up; packets that are still in it go on."""
        # An engine that an error ended may not know of all, and unbinding drops them.
        os.write(self._fd, netlink.accept_all(self.number))
        self._netfilter.unbind()
        self._stamping.close()


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
