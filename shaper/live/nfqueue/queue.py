"""One NFQUEUE: packets are taken from the kernel and answered with verdicts.

It speaks the kernel's protocol itself (see netlink.py), so that nothing need be compiled to install shaper. A library's
callback for each packet would cost a system call and an object. Here packets are read from the socket many at once (see
recvmmsg.py, layout.py), and so are verdicts written (see verdict_batches.py).
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from shaper.core.train import Came, Part
from shaper.core.verdict import Verdict
from shaper.errors import ShaperError
from shaper.linux.capabilities import CAP_NET_ADMIN, CAP_NET_RAW, can, remedy
from shaper.linux.recvmmsg import Datagrams
from shaper.linux.timerfd import wait_until
from shaper.live.nfqueue import netlink
from shaper.live.nfqueue.layout import NO_PACKET, Layouts
from shaper.live.nfqueue.row import Row, Rows
from shaper.live.nfqueue.verdict_batches import VerdictBatches
from shaper.verbose import detail
from shaper.wire.packet import Packet

HEADERS = 128
"""Bytes copied if the whole pipeline needs headers only: enough for IPv6 with extensions and TCP with options."""
WHOLE = netlink.MAX_PAYLOAD
"""Bytes copied if some policy reads or changes what follows the headers."""
METADATA_ROOM = 512
"""Room for all that the kernel says about a packet, in bytes."""
LINE = 64
"""Each message begins where this many bytes begin that are read from memory at once."""
BATCH: Final = 128
"""The most packets taken at once."""
SHORTEST_ROW: Final = 8
"""To look at fewer packets by column costs more than to look at each."""

CLOCK_STEP: Final = 1_000_000
"""The wall clock was set if its distance from CLOCK_MONOTONIC changed by more than this (ns) between two reads."""

AUTOMATIC_NUMBERS = range(100, 1000)
"""Tried in order when no number is given."""

NETLINK_NETFILTER = 12  # linux/netlink.h
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_TIMESTAMP, SO_RCVBUFFORCE = 29, 33  # asm-generic/socket.h


class QueueError(ShaperError):
    """The queue can't be bound."""


class QueueInUse(QueueError):
    """Another program, or a part of this one, is bound to that number."""


class Queue:
    """One NFQUEUE, bound.

    Args:
        number: the queue's number, 0 to 65535.
        copy_range: how many bytes of each packet to copy, HEADERS or WHOLE.
        length: how many packets may await their verdict.
        buffer: bytes of the socket's receive buffer to ask for.
        fail_open: packets pass unshaped, rather than being dropped, when the queue is full.
        gso: take segments that the sender left uncut, up to 64 kB, whole.

    Attributes:
        number: see above.
        buffer: bytes of the receive buffer that the kernel gave; it includes its own overhead.

    Raises:
        QueueError: the number is in use, no permission, no kernel support.
    """

    def __init__(
        self, number: int, *, copy_range: int, length: int, buffer: int, fail_open: bool = True, gso: bool = False
    ) -> None:
        self.number = number
        self._last_arrival = 0
        self._now = time.monotonic_ns()
        self._offset = time.time_ns() - self._now
        self._layout = NO_PACKET
        self._layouts = Layouts()
        self._batches = VerdictBatches(number)
        self._socket = _open()
        self._bind()
        self._fd: int = self._socket.fileno()
        # Without it, after one packet too many, the kernel takes none until all that wait have been read.
        self._socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        with suppress(PermissionError):  # only root of the first user namespace may exceed the limit
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer)
        self.buffer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._read(copy_range)
        flags = netlink.FAIL_OPEN * fail_open | netlink.GSO * gso
        os.write(self._fd, netlink.copy_mode(number, copy_range))
        os.write(self._fd, netlink.max_length(number, length))
        os.write(self._fd, netlink.set_flags(number, flags, netlink.FAIL_OPEN | netlink.GSO))
        # The kernel stamps arriving packets while some socket asks for it; this one never receives any.
        self._stamping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stamping.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)

    def _bind(self) -> None:
        try:
            _tell(self._socket, netlink.bind(self.number))
        except OSError as error:
            self._socket.close()
            # The second one is the answer if another process has it.
            if error.errno not in (errno.EBUSY, errno.EPERM):
                raise QueueError(f"queue {self.number} can't be set up: {error.strerror}") from error
            raise QueueInUse(f"queue {self.number} is in use; choose another with --queue, or leave it out") from error

    def _read(self, copy_range: int) -> None:
        """From now on read packets of which this many bytes are copied."""
        room = copy_range + METADATA_ROOM + LINE - 1 & ~(LINE - 1)
        self._datagrams = Datagrams(self._fd, room=room, most=BATCH)
        self._rows = Rows(self._datagrams, self._layouts)
        self._count = 0

    def copy_whole(self) -> None:
        """From now on copy all bytes of each packet; those that wait already stay cut."""
        self._read(WHOLE)
        os.write(self._fd, netlink.copy_mode(self.number, WHOLE))

    def cut(self) -> None:
        """From now on take single segments; those that wait already stay uncut."""
        os.write(self._fd, netlink.set_flags(self.number, 0, netlink.GSO))

    def fileno(self) -> int:
        """The descriptor of the queue's socket: readable while packets wait to be taken."""
        return self._fd

    def take(self) -> list[Packet]:
        """The next packets that wait, in their order, `BATCH` at most."""
        self.receive()
        return self.packets()

    def receive(self) -> int:
        """Read the next packets that wait, `BATCH` at most; returns how many messages these were."""
        self._count = self._datagrams.receive()
        return self._count

    def row(self) -> Row | None:
        """The packets that were read, at least SHORTEST_ROW, as a row; None if they aren't alike."""
        self._now = time.monotonic_ns()
        offset = time.time_ns() - self._now
        if abs(offset - self._offset) > CLOCK_STEP:
            return None
        self._offset = offset
        return self._rows.row(self._count)

    def arrival(self, row: Row, nth: int) -> int:
        """When one of the packets of the row that was read last arrived, in ns."""
        return max(min(row.stamped(nth) - self._offset, self._now), self._last_arrival)

    def came(self, row: Row) -> Came:
        """The packets of the row that was read last."""
        offset, now, last = self._offset, self._now, self._last_arrival
        arrivals: list[int] = []
        for stamp in row.stamps():
            arrived = stamp - offset
            if arrived > now:
                arrived = now
            if arrived < last:
                arrived = last
            last = arrived
            arrivals.append(arrived)
        return Came(row.ids(), arrivals, row.raws())

    @property
    def is_answered(self) -> bool:
        """Whether each packet that was taken has its verdict."""
        return not len(self._batches)

    def packets(self) -> list[Packet]:
        """The packets that were read, in their order."""
        taken: list[Packet] = []
        if not self._count:
            return taken
        clock, last = time.monotonic_ns, self._last_arrival
        seconds: int  # so that compiled code needn't check their types
        microseconds: int
        now = clock()
        offset = time.time_ns() - now
        if abs(offset - self._offset) > CLOCK_STEP:
            last = now  # nobody knows by which clock these were stamped: they count as arrived now
        self._offset = offset
        slots, layout = self._datagrams.slots, self._layout
        heads, expected, _, stamped, _, reads, *_, is_packet = layout
        for nth, length in enumerate(self._datagrams.lengths(self._count)):
            message = slots[nth]
            if heads(message) != expected:
                layout = self._layouts.of(message)
                heads, expected, _, stamped, _, reads, *_, is_packet = layout
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
                arrived = last  # two CPUs stamped packets before they were put in one row
            last = arrived
            packet = Packet(raw, id, arrived)
            packet.taken = now
            taken.append(packet)
        self._layout, self._last_arrival = layout, last
        self._batches.expect([packet.id for packet in taken])
        return taken

    def accept(self, row: Row) -> None:
        """Let the packets of the row that was read last go on; only if the queue `is_answered`.

        Raises:
            OSError: the socket fails.
        """
        self._last_arrival = self.arrival(row, row.count - 1)
        os.write(self._fd, self._batches.accept_up_to(row.last_id))

    def hold(self, came: Came) -> None:
        """The packets of the row that was read last, as `came` gave them, get their verdicts later."""
        self._last_arrival = came.arrived[-1]
        self._batches.expect(came.ids)

    def let_go(self, parts: Sequence[Part], at: int) -> None:
        """Let packets of trains go on, in their order, but not before a time (ns).

        Raises:
            OSError: the socket fails.
        """
        for data in self._batches.accept([train.ids[begin:end] for train, begin, end in parts]):
            wait_until(at)
            os.write(self._fd, data)

    def answer(self, verdicts: Sequence[Verdict], at: int = 0) -> None:
        """Give these verdicts, in their order, in as few system calls as possible, but not before a time (ns).

        None may be of an injected packet.

        Raises:
            OSError: the socket fails.
        """
        for data in self._batches.messages(verdicts):
            wait_until(at)
            os.write(self._fd, data)

    def close(self) -> None:
        """Give the queue up; packets that are still in it go on."""
        # After an error the engine may have left some, and unbinding drops them.
        os.write(self._fd, netlink.accept_all(self.number))
        # Its guardian may have the socket, too, so that closing it alone would not give the queue up.
        os.write(self._fd, netlink.unbind(self.number))
        self._socket.close()
        self._stamping.close()


def open_queue(
    number: int | None, *, copy_range: int, length: int, buffer: int, fail_open: bool = True, gso: bool = False
) -> Queue:
    """The queue of that number, or of the first free one of AUTOMATIC_NUMBERS; see `Queue`.

    Raises:
        QueueError: the number is in use, no permission, no kernel support.
    """
    for candidate in AUTOMATIC_NUMBERS if number is None else (number,):
        try:
            queue = Queue(candidate, copy_range=copy_range, length=length, buffer=buffer, fail_open=fail_open, gso=gso)
            detail(
                f"queue {candidate} is bound by process {os.getpid()}, the engine: {length} packets at most, "
                f"{queue.buffer} bytes of socket buffer, {copy_range} bytes of each packet copied, "
                f"segments {'uncut' if gso else 'cut'}"
            )
            return queue
        except QueueInUse:
            if number is not None:
                raise
    raise QueueError(
        f"the queues {AUTOMATIC_NUMBERS[0]} to {AUTOMATIC_NUMBERS[-1]} are all in use; choose another with --queue"
    )


def _open() -> socket.socket:
    """A socket that may bind a queue."""
    opened = None
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        _tell(opened, netlink.ask())
    except OSError as error:
        if opened:
            opened.close()
        if can(CAP_NET_ADMIN):
            why = "this kernel has no NFQUEUE (try `modprobe nfnetlink_queue`); `shaper doctor` says more"
        else:
            why = f"no permission to bind a queue; {remedy(CAP_NET_ADMIN, CAP_NET_RAW)}, or use `shaper run`"
        raise QueueError(why) from error
    return opened


def _tell(netfilter: socket.socket, message: bytes) -> None:
    """Write a message before the queue has packets.

    Raises:
        OSError: the kernel's answer; it gives one only if it refuses.
    """
    netfilter.send(message)
    with suppress(BlockingIOError):
        # Only looked at: if the queue is bound now, its first packet may be there.
        for code in netlink.errors_in(netfilter.recv(1 << 12, socket.MSG_PEEK | socket.MSG_DONTWAIT)):
            raise OSError(-code, os.strerror(-code))
