"""Causes: why each packet was sent.

Either the kernel answered a delivery, or a call wrote the packet, or a timer expired. A
call wrote it if it wrote the packet's first byte, unless the packet came later than the
call: then an ACK or a timer released it. And the process made that call because of the
packet it had read last. `chain` follows these causes from packet to packet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from shaper.journal import Record
from shaper.probe.ends.account import Account, Call
from shaper.probe.explain.chain import Cause
from shaper.probe.explain.needs import Needs
from shaper.report.timers import retransmission
from shaper.report.traffic import Traffic
from shaper.units import ms
from shaper.wire.flow import Flow

AT_ONCE = 2 * ms
"""The kernel answers a delivery within this time (ns), or a timer did: a delayed ACK takes at least 40 ms."""
AFTER_CALL = 5 * ms
"""A packet may be seen this long (ns) after its call returned: the FIN of close(2) leaves after it."""
REPLIES = frozenset({"synack", "handshake-ack", "pure-ack", "dup-ack", "window-update", "rst", "icmp", "other"})
"""Classes of packets that the kernel sends on its own; all others take a call."""


class Sender:
    """One end as the sender of packets: what it wrote on each connection, and what it had read before.

    Args:
        account: what the end did.
        traffic: all packets of the run.

    Attributes:
        role: "server" or "client".
        needs: what its calls waited for.
    """

    def __init__(self, account: Account, traffic: Traffic) -> None:
        self.role = account.role
        self.needs = Needs(account.calls, traffic)
        self._flows = {call.flow for call in account.calls}
        self._wakes = [(call.end, need.last) for call, need in self.needs.of if need.last is not None]
        self._calls: dict[Flow | None, list[Call]] = {}
        for call in account.calls:
            if call.flow is not None and (not call.error or call.error == "EINPROGRESS"):
                self._calls.setdefault(call.flow, []).append(call)

    def flow_of(self, record: Record) -> Flow | None:
        """The connection on which this end sent the packet; None if it didn't send it."""
        # A server's UDP socket has no single peer.
        without_peer = record.flow._replace(destination="", dport=0)
        return next((flow for flow in (record.flow, without_peer) if flow in self._flows), None)

    def call_for(self, record: Record, byte: int) -> Call | None:
        """The call that sent this packet; for data, the one that wrote its first byte. None if none is known.

        Args:
            byte: where the packet's first byte lies in the connection's stream.
        """
        calls = self._calls.get(self.flow_of(record), [])
        if record.kind == "syn":
            return next((call for call in calls if call.syscall == "connect"), None)
        if record.kind == "fin":
            return next((call for call in calls if call.syscall in ("shutdown", "close")), None)
        if record.kind == "udp":
            before = [call for call in calls if call.syscall == "sendto" and call.start <= record.arrived]
            return before[-1] if before else None
        written = 0
        for call in calls:
            if call.syscall != "sendto":
                continue
            written += call.bytes or 0
            if byte < written:
                return call
        return None

    def last_read(self, at: int) -> Record | None:
        """The packet whose content the process had read last before this time (ns); None if there was none."""
        index = bisect_right(self._wakes, at, key=lambda wake: wake[0])
        return self._wakes[index - 1][1] if index else None

    def reads_at(self, record: Record) -> bool:
        """Whether the process was reading from the connection when this packet was sent on it."""
        reads = (call for call in self._calls.get(self.flow_of(record), []) if call.syscall == "recvfrom")
        return any(call.start <= record.arrived <= call.end + AFTER_CALL for call in reads)


class Causes:
    """The causes of all packets in one run of a workload.

    Args:
        accounts: what its ends did.
        records: the journal of its packets.

    Attributes:
        traffic: the packets by flow.
        senders: the ends.
    """

    def __init__(self, accounts: Iterable[Account], records: Iterable[Record]) -> None:
        self.traffic = Traffic(records)
        self.senders = [Sender(account, self.traffic) for account in accounts]

    def of(self, record: Record) -> Cause:
        """Why this packet was sent."""
        delivery = self.traffic.against(record).last_before(record.arrived)
        answered = delivery is not None and record.arrived - delivery.begin < AT_ONCE
        again = retransmission(record, self.traffic)
        if again is not None:
            if answered and record.kind not in ("syn", "fin"):
                return Cause("kernel", delivery)
            return Cause("retransmission", again.record, repeats=True, lost=again.lost)
        sender = next((sender for sender in self.senders if sender.flow_of(record) is not None), None)
        if record.kind not in REPLIES:
            return self._written(sender, record, delivery)
        if delivery is None or answered:
            return Cause("kernel", delivery)
        reads = sender is not None and sender.reads_at(record)
        return Cause("task" if reads else "delayed ack", delivery)

    def _written(self, sender: Sender | None, record: Record, delivery: Record | None) -> Cause:
        """The cause of a packet that takes a call: a SYN, data, a FIN, a datagram."""
        if sender is None:
            return Cause("client" if record.kind == "syn" else "task")
        byte = self.traffic.along(record).stream.offset(record) if record.kind == "data" else 0
        call = sender.call_for(record, byte)
        if call is not None and delivery is not None and delivery.begin > call.start:
            # It waited in the send buffer: for an ACK, or for TCP's pacing.
            return Cause("kernel" if record.arrived - delivery.begin < AT_ONCE else "pacing", delivery)
        read = sender.last_read(call.start if call is not None else record.arrived)
        if call is not None and record.arrived - call.start > AT_ONCE:
            return Cause("pacing", read)
        # A client that had read nothing sent it on its own: until then, the client had not begun.
        return Cause("client" if read is None and sender.role == "client" else "task", read)
