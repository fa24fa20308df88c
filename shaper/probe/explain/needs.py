"""Needs: what each call of an end waited for, and which packet's delivery let it return.

accept returns when the packet that completes the handshake is delivered, connect (or the
select after it) when the SYN-ACK is. A read returns with the packet that carries its
first byte, a read of the end of file with the FIN, and a write that found no space in
the send buffer with an ACK. Why those packets were sent is for `causes` to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shaper.journal import Record
from shaper.probe.ends.account import Call
from shaper.probe.ends.calls import IN, OUT
from shaper.report.traffic import Traffic
from shaper.units import ms
from shaper.wire.flow import Flow

OPENING = frozenset({"syn", "synack"})
"""Classes of packets that open a connection, but don't complete the handshake for the server."""
SELECTS = frozenset({"pselect6", "poll", "epoll_wait"})
WAITED = 1 * ms
"""A write that took less than this (ns) found space at once."""


class Need(NamedTuple):
    """What a call waited for.

    Attributes:
        what: "handshake", "data", "end of file", "space" or "timeout".
        waker: the packet whose delivery let it return; None if that is not known.
        last: the last packet whose content the call returned. It is the reason for what the process does next.
    """

    what: str
    waker: Record | None = None
    last: Record | None = None


class Needs:
    """The needs of one end's calls.

    Args:
        calls: all that the end made, in order.
        traffic: all packets of the run.

    Attributes:
        of: each call that may wait, and its need, in order.
    """

    def __init__(self, calls: Sequence[Call], traffic: Traffic) -> None:
        self._traffic = traffic
        self._read: dict[Flow, int] = {}  # so far, in bytes or datagrams
        self._connecting: set[Flow | None] = set()
        self.of: list[tuple[Call, Need]] = []
        for index, call in enumerate(calls):
            need = self._need(call, calls[index + 1 :])
            if need is not None:
                self.of.append((call, need))

    def _need(self, call: Call, later: Sequence[Call]) -> Need | None:
        if call.syscall == "accept4":
            return Need("handshake", *self._first_of(call.flow, OPENING | {"rst"}))
        if call.syscall == "connect":
            if call.error == "EINPROGRESS":
                self._connecting.add(call.flow)
                return None
            if call.flow is not None and call.flow.protocol == "udp":
                return None
            return Need("handshake", *self._first_of(call.flow, frozenset()))
        if call.syscall in SELECTS:
            return self._select(call, later)
        if call.syscall == "recvfrom":
            return self._receive(call)
        if call.syscall == "sendto":
            return self._space(call)
        return None

    def _first_of(self, flow: Flow | None, without: frozenset[str]) -> tuple[Record | None, Record | None]:
        record = self._traffic.sent_to(flow).first(without=without) if flow is not None else None
        return record, record

    def _select(self, call: Call, later: Sequence[Call]) -> Need:
        needs = [self._event(flow, events, call, later) for flow, events in call.ready or call.wanted]
        what = needs[0].what
        if not call.ready:
            return Need(what if call.error else "timeout")
        wakers = sorted((need.waker for need in needs if need.waker is not None), key=lambda record: record.begin)
        # The first one ended the call.
        return Need(what, wakers[0], wakers[-1]) if wakers else Need(what)

    def _event(self, flow: Flow | None, events: int, call: Call, later: Sequence[Call]) -> Need:
        if flow is None:
            return Need("data")
        if events & OUT and flow in self._connecting:
            if call.ready:
                self._connecting.discard(flow)
            return Need("handshake", *self._first_of(flow, frozenset()))
        if events & IN:
            read = next((after for after in later if after.syscall == "recvfrom" and after.flow == flow), None)
            if read is not None and not read.bytes:
                return Need("end of file", *self._end_of_file(flow))
            return Need("data", *self._content(flow, 1))
        return self._space(call)

    def _receive(self, call: Call) -> Need:
        if call.flow is None or call.error:
            return Need("data")
        if not call.bytes:
            return Need("end of file", *self._end_of_file(call.flow))
        need = Need("data", *self._content(call.flow, call.bytes))
        size = 1 if call.flow.protocol == "udp" else call.bytes
        self._read[call.flow] = self._read.get(call.flow, 0) + size
        return need

    def _content(self, flow: Flow, size: int) -> tuple[Record | None, Record | None]:
        """The packets that brought the first and the last of the next `size` bytes, or the next datagram."""
        at, direction = self._read.get(flow, 0), self._traffic.sent_to(flow)
        if flow.protocol == "udp":
            record = direction.delivered[at] if at < len(direction.delivered) else None
            return record, record
        return direction.stream.readable(at), direction.stream.readable(at + size - 1)

    def _end_of_file(self, flow: Flow) -> tuple[Record | None, Record | None]:
        direction = self._traffic.sent_to(flow)
        record = direction.stream.finished() or next((r for r in direction.delivered if r.kind == "rst"), None)
        return record, record

    def _space(self, call: Call) -> Need:
        if call.flow is None or call.duration < WAITED:
            return Need("space")
        ack = self._traffic.sent_to(call.flow).last_before(call.end)
        return Need("space", ack, ack) if ack is not None and ack.begin > call.start else Need("space")
