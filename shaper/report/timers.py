"""TCP's timers: since when a packet that one of them sent was waited for, and because of which packet.

A timer starts at a packet: a retransmission at the copy sent before (RFC 6298), a probe
for a lost tail at the last packet (RFC 8985), a delayed ACK at the last delivery (RFC 1122,
4.2.3.2), pacing at the packet sent before (tcp_pace_kick in net/ipv4/tcp_output.c).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from shaper.journal import Record
from shaper.report.traffic import Traffic

TimerKind = Literal["retransmission", "delayed ack", "pacing"]
ACKS = frozenset({"pure-ack", "handshake-ack", "dup-ack", "window-update"})
PACING = "tcp_pace_kick"
"""The kernel's function that lets go a packet which pacing has kept back."""
HALF = 1 << 31
WRAP = 1 << 32


class Expiry(NamedTuple):
    """The expiry of a timer of TCP, which sent a packet.

    Attributes:
        kind: what it was for.
        since: when it started, in ns; 0 if that is not known.
        record: the packet that started it; None if that is not known.
        delivered: the packet's delivery started it; otherwise its sending.
        lost: the packet that was dropped, so that the timer expired.
    """

    kind: TimerKind
    since: int
    record: Record | None = None
    delivered: bool = False
    lost: Record | None = None


def retransmission(record: Record, traffic: Traffic) -> Expiry | None:
    """The wait for this packet since the copy of it that was sent before; None if this is the first one."""
    earlier = traffic.along(record).earlier_copy(record)
    if earlier is None:
        return None
    lost = earlier if earlier.fate == "dropped" else _lost_answer(earlier, record, traffic)
    return Expiry("retransmission", earlier.arrived, earlier, lost=lost)


def _lost_answer(earlier: Record, record: Record, traffic: Traffic) -> Record | None:
    """The first packet dropped of those that would have acknowledged the earlier copy."""
    answers = traffic.against(record).between(earlier.begin, record.arrived)
    return next((r for r in answers if r.fate == "dropped" and _acknowledges(r, earlier)), None)


def expiry(record: Record, at: int, traffic: Traffic, *, is_pacing: bool) -> Expiry:
    """Which timer sent this packet at that time (ns); no copy of it was sent before."""
    own, delivery = traffic.along(record), traffic.against(record).last_before(at)
    if record.kind in ACKS and not is_pacing:
        return _since(delivery, None, "delayed ack")
    if not is_pacing:
        lost = own.last_dropped(at)
        if lost is not None and not _acknowledges(delivery, lost):
            return Expiry("retransmission", lost.arrived, lost, lost=lost)
    return _since(delivery, own.sent_before(record), "pacing" if is_pacing else "retransmission")


def _since(delivery: Record | None, before: Record | None, kind: TimerKind) -> Expiry:
    """A timer that the later of a delivery and of a sending has started."""
    if before is not None and (delivery is None or before.arrived >= delivery.begin):
        return Expiry(kind, before.arrived, before)
    return Expiry(kind, 0 if delivery is None else delivery.begin, delivery, delivered=True)


def _acknowledges(delivery: Record | None, record: Record) -> bool:
    if delivery is None or delivery.ack is None or record.seq is None:
        return False
    return 0 < (delivery.ack - record.seq) % WRAP < HALF
