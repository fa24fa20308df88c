"""The queue that packets which go out pass first, so that they don't count for their sender while they are held.

A packet in OUTPUT belongs to its socket. TCP sends no more while a few of its packets are on this machine
(tcp_small_queue_check() in net/ipv4/tcp_output.c), so what is held there would slow the sender down as no network does:
to two packets in 20 ms, if each is held for that long. Behind a device packets belong to nobody.

The kernel makes a packet that gets longer than its memory anew, without its socket (nfqnl_mangle() in
net/netfilter/nfnetlink_queue.c). So each segment is lengthened, and comes to this queue again. Then it is cut to what
it was, and handed to the queue where it is held. It keeps its mark, its route and its connection, it is in the kernel
all the time, and the rules see it once.
"""

from __future__ import annotations

import os
from typing import Final

from shaper.live.nfqueue import netlink
from shaper.live.nfqueue.numbers import output_number
from shaper.live.nfqueue.queue import BATCH, WHOLE, Queue
from shaper.wire.header import TCP

ROOM: Final = 1024
"""Memory that the kernel keeps for headers, beside the packet: it has at most as much again to spare."""
BYTES_AT_ONCE: Final = 64 * 1024
"""Bytes of packets in one write; the socket's send buffer limits a write to some 200 kB."""
ROUNDS: Final = 8
"""How often the queue is read until others get a turn; each packet is read twice."""
SYN: Final = 0x02
SHORTEST: Final = 40
"""Bytes of a segment at least: the headers of IPv4 and TCP."""


class OutputQueue(Queue):
    """Takes packets away from their sockets, and hands them on to a queue of this process.

    Args:
        queue: the number of the queue where they are held.
        length, buffer, fail_open, gso: see `Queue`. With `gso`, packets are handed on as they are: what will be cut
            into segments later can't be made anew.

    Attributes:
        number: its own number.

    Raises:
        QueueError: it is in use.
    """

    def __init__(self, queue: int, *, length: int, buffer: int, fail_open: bool, gso: bool) -> None:
        number = output_number(queue)
        super().__init__(number, copy_range=WHOLE, length=length, buffer=buffer, fail_open=fail_open, gso=gso)
        self._next, self._gso = queue, gso

    def hand_on(self) -> None:
        """Hand on the packets that wait, in their order.

        Raises:
            OSError: the socket fails.
        """
        for _ in range(ROUNDS):
            if not self._hand_on_some():
                return

    def _hand_on_some(self) -> bool:
        """Hand on a batch; returns whether there is more, or will be."""
        lengths = self._datagrams.lengths(self._datagrams.receive())
        is_more = len(lengths) == BATCH
        parts: list[bytes] = []
        size = 0
        for message, length in zip(self._datagrams.slots, lengths, strict=False):
            if self._layout.heads(message) != self._layout.expected:
                self._layout = self._layouts.of(message)
            if not self._layout.is_packet:
                continue
            id, *_, raw = (self._layout.reads.get(length) or self._layout.read(length))(message)
            verdict, is_again = self._verdict(id, raw)
            is_more = is_more or is_again
            if parts and size + len(verdict) > BYTES_AT_ONCE:
                os.write(self._fd, b"".join(parts))
                parts.clear()
                size = 0
            parts.append(verdict)
            size += len(verdict)
        if parts:
            os.write(self._fd, b"".join(parts))
        return is_more

    def _verdict(self, id: int, raw: bytes) -> tuple[bytes, bool]:
        """The verdict on a packet, and whether it will come to this queue again."""
        own = own_length(raw)
        more = 0 if self._gso else lengthening(raw[:own])
        # What a raw socket sends may be longer than its header says, too.
        if more and len(raw) == own + more and raw.endswith(bytes(more)):
            return netlink.requeue(self.number, id, self._next, raw[:own]), False
        if more and len(raw) == own and own + more <= netlink.MAX_PAYLOAD:
            return netlink.requeue(self.number, id, self.number, raw + bytes(more)), True
        return netlink.requeue(self.number, id, self._next), False


def own_length(raw: bytes) -> int:
    """How long a packet is by its own header, in bytes; 0 if that says nothing."""
    if raw[0] >> 4 == 4:
        return int.from_bytes(raw[2:4])
    length = int.from_bytes(raw[4:6])
    return length and length + 40


def lengthening(raw: bytes) -> int:
    """By how many bytes the packet has to get longer to be made anew; 0 if it may stay as it is.

    A SYN does, since rules for the first packet of a connection may ask for the owner of its socket. A segment without
    payload gets longer by a byte, only so that it doesn't overtake those that take longer.
    """
    if len(raw) < SHORTEST:
        return 0
    if raw[0] >> 4 == 4:
        protocol, at = raw[9], (raw[0] & 0xF) * 4
    else:
        protocol, at = raw[6], 40
    if protocol != TCP or len(raw) < at + 20 or raw[at + 13] & SYN:
        return 0
    has_payload = len(raw) > at + (raw[at + 12] >> 4) * 4
    return len(raw) + ROOM if has_payload else 1
