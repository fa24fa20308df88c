"""The probe's blockings: its calls that waited, each explained by the holds of packets.

`needs` says which packet let a call return, `causes` why each packet was sent, `chain`
adds up what this makes of the wait.
"""

from __future__ import annotations

from typing import TypeGuard

from shaper.journal import Record
from shaper.probe.ends.account import Call
from shaper.probe.ends.run import ProbeRun
from shaper.probe.explain.causes import Causes
from shaper.probe.explain.chain import Explained, explain
from shaper.probe.explain.needs import Need
from shaper.report.blocking import Blocking, Waker, packet_name
from shaper.units import ms

THRESHOLD = 1 * ms
"""A call that takes less than this (ns) has not waited."""


def blockings(run: ProbeRun, threshold: int = THRESHOLD) -> list[Blocking]:
    """All calls that waited longer than the threshold (ns), in the order of their start."""
    causes = Causes(run.accounts, run.records)
    found = []
    for sender in causes.senders:
        for call, need in sender.needs.of:
            if call.duration > threshold:
                found.append(_blocking(call, need, _explain(call, need, causes, run.began)))
    return sorted(found, key=lambda blocking: blocking.start)


def _explain(call: Call, need: Need, causes: Causes, began: int) -> Explained:
    if need.what == "timeout":
        return Explained(timer=call.duration)
    if _woke(need.waker, call):
        return explain(call.start, call.end, need.waker, causes.of)
    # Without a journal, at least this much is known.
    before = max(0, min(began, call.end) - call.start)
    return Explained(before_client=before, unexplained=call.duration - before)


def _woke(waker: Record | None, call: Call) -> TypeGuard[Record]:
    """Whether the packet came during the call. If it came before, the call found what it needed."""
    return waker is not None and call.start < waker.begin < call.end


def _blocking(call: Call, need: Need, explained: Explained) -> Blocking:
    waker = None
    if need.what == "timeout":
        waker = Waker("hrtimer", "timeout")
    elif _woke(need.waker, call):
        waker = Waker("packet", packet_name(need.waker.kind, need.waker.id))
    return Blocking(
        task=call.role,
        role=call.role,
        pid=call.pid,
        tid=call.pid,
        syscall=call.syscall,
        fd=call.fd,
        file=str(call.flow or ""),
        start=call.start,
        duration=call.duration,
        waited_for=need.what,
        waker=waker,
        held=explained.held,
        dropped=explained.dropped,
        before_client=explained.before_client,
        peer=explained.peer,
        retransmission=explained.retransmission,
        delayed_ack=explained.delayed_ack,
        pacing=explained.pacing,
        timer=explained.timer,
        unexplained=explained.unexplained,
        ended=call.error != "EINTR",
    )
