"""The exchange with the kernel: packets are taken for the core, and its verdicts are carried out.

When that is done is the engine's affair (see engine.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence, Set
from typing import Final

from shaper.core.change import Change
from shaper.core.core import Core
from shaper.core.train import SHORTEST
from shaper.core.verdict import Verdict
from shaper.linux.timerfd import wait_until
from shaper.live.connmark import Connmark
from shaper.live.drain_watcher import DrainWatcher
from shaper.live.inject import Injector
from shaper.live.lateness import Holds
from shaper.live.meter import Meter
from shaper.live.nfqueue.output import OutputQueue
from shaper.live.nfqueue.queue import SHORTEST_ROW, Queue
from shaper.live.nfqueue.row import Row
from shaper.live.record import PacketRecorder
from shaper.policy.signal import Signal, SignalRecord
from shaper.wire.header import flow_key
from shaper.wire.packet import Packet

SINGLY: Final = 16
"""So many batches are looked at packet by packet after one that could not be held as trains."""


class Exchange:
    """Connects the core with the kernel.

    Args:
        core: decides what happens to each packet.
        queue: where the packets come from.
        injector: sends packets that policies make.
        output: what packets that go out pass before they come to the queue, if there are any.
        recorder: records each packet, if given.
        drain_watcher: watches the sockets that packets go to, if some policy listens for `drained`.
        one_by_one: write each verdict in a system call of its own, so that what it causes in the kernel can be told
            apart.

    Attributes:
        holds: planned and actual holds so far.
        injector: see above.
        meter: measures more, once somebody looks.
        changed: how often the core was changed, as of the last `take_changes`.
        replaced, specs: how often its pipeline was replaced, and the SPECs of the newest one; empty if it has none.
        connmark: lets connections leave the queue that no policy will touch; None if they stay.
        last_id: the kernel's number of the packet taken last; packets that found no room are numbered too.
    """

    def __init__(
        self,
        core: Core,
        queue: Queue,
        injector: Injector,
        *,
        output: OutputQueue | None,
        recorder: PacketRecorder | None,
        drain_watcher: DrainWatcher | None,
        one_by_one: bool,
    ) -> None:
        self.holds = Holds()
        self._core = core
        self._queue = queue
        self.injector = injector
        self.last_id = 0
        self._looks_singly = 0  # how many batches more aren't looked at as rows to be held
        self._first = self._last = 0  # when the first and the last of those taken last arrived, in ns
        self._injected = 0  # verdicts on packets that policies made, carried out so far
        # Packets that the core holds and the kernel no longer does, since a copy went in their place; by id.
        self._replaced: set[int] = set()
        self._recorder = recorder
        self.meter: Meter | None = None
        self.connmark: Connmark | None = None
        self.changed = self.replaced = 0
        self.specs: tuple[str, ...] = ()
        self._replayed = 0  # how far (ns) a replay of what is recorded has come
        self._drain_watcher = drain_watcher
        self._one_by_one = one_by_one
        self._output = output

    def _receive(self) -> tuple[int, int]:
        """Take the packets that wait in the queue, a batch at most, and give them to the core.

        Returns:
            How many; and how many of them went on already, as no policy wants them.
        """
        if self._output is not None:
            self._output.hand_on()
        if self._queue.receive() >= SHORTEST_ROW and self._looks_at_none and (took := self._take_row()):
            return took
        packets = self._queue.packets()
        if packets:
            self.last_id, self._first, self._last = packets[-1].id, packets[0].arrived, packets[-1].arrived
        core = self._core
        if self._recorder is not None:
            self._record(packets, self._recorder)
        for packet in packets:
            core.receive(packet, packet.arrived)
        if self.connmark is not None:
            self.connmark.see(packets)
        if self.meter is not None:
            self.meter.arrived(packets)
        if self._drain_watcher is not None:
            self._signal_drained(self._drain_watcher)
        return len(packets), 0

    def _take_row(self) -> tuple[int, int] | None:
        """As `_receive`, if the packets that were read are a row, and all go on, or are held alike; else None."""
        is_answered, may_hold = self._queue.is_answered, self._core.may_hold_alike and not self._looks_singly
        self._looks_singly = max(self._looks_singly - 1, 0)
        if not is_answered and not may_hold:
            return None
        row = self._queue.row()
        if row is not None:
            if is_answered and self._pass_on(row):
                return row.count, row.count
            if may_hold and self._hold(row):
                return row.count, 0
        if may_hold:
            self._looks_singly = SINGLY
        return None

    @property
    def _looks_at_none(self) -> bool:
        """Whether nobody but the core has anything to do with the packets that come."""
        is_observed = self._recorder is not None or self.meter is not None or self._drain_watcher is not None
        return not (is_observed or self._one_by_one or self._replaced or self.connmark is not None)

    def _pass_on(self, row: Row) -> bool:
        """Let packets go on at once, if no policy wants them; returns whether they do."""
        queue, core, last = self._queue, self._core, row.count - 1
        first, arrived, before = queue.arrival(row, 0), queue.arrival(row, last), core.now
        if not core.pass_on(row.flows, row.raws, arrived):
            return False
        samples = [queue.arrival(row, nth) for nth in self.holds.sampled(row.count)]
        queue.accept(row)
        self.holds.passed(row.count, samples, first, before, time.monotonic_ns())
        self.last_id, self._first, self._last = row.last_id, first, arrived
        return True

    def _hold(self, row: Row) -> bool:
        """Let the core hold packets as trains; returns whether it does."""
        if row.count < SHORTEST * len(row.flows):
            return False
        queue = self._queue
        came = self._core.hold_alike(row.flows, lambda: queue.came(row), time.monotonic_ns())
        if came is None:
            return False
        queue.hold(came)
        self.last_id, self._first, self._last = row.last_id, came.arrived[0], came.arrived[-1]
        return True

    def _let_go(self, now: int, at: int = 0) -> int:
        """Let packets of trains go on that are due by `now` (ns), but not before `at`; returns how many."""
        parts = self._core.let_go(now) if self._looks_at_none else ()
        if not parts:
            return 0
        self._queue.let_go(parts, at)
        self.holds.went(parts, time.monotonic_ns())
        return sum([end - begin for _, begin, end in parts])

    def _record(self, packets: Sequence[Packet], recorder: PacketRecorder) -> None:
        """Record that these packets arrived, and that some are late for the core's time, which a replay must know."""
        taken = self._core.counts.taken
        for number, packet in enumerate(packets):
            recorder.arrived(packet)
            if packet.arrived < (now := self._core.now) and self._replayed < now:
                recorder.changed(Change(now, taken + number, "time"))
                self._replayed = now
            self._replayed = max(self._replayed, packet.arrived)

    def _signal_drained(self, drain_watcher: DrainWatcher) -> None:
        now = time.monotonic_ns()
        for flow in drain_watcher.look(now):
            for policy in self._core.listeners("drained"):
                given = SignalRecord(policy, Signal("drained", flow), now, self._core.counts.taken)
                self._core.signal(given.policy, given.signal, given.at)
                if self._recorder is not None:
                    self._recorder.signalled(given)

    @property
    def records(self) -> bool:
        """Whether it records packets."""
        return self._recorder is not None

    @property
    def held(self) -> int:
        """Packets that the kernel holds for the core."""
        return self._core.counts.held - len(self._replaced)

    def answer(self, verdicts: Sequence[Verdict], at: int = 0) -> None:
        """Carry these verdicts out, in their order, but not before a time (ns)."""
        if not verdicts:
            return
        if self._one_by_one or self._injected != self._core.counts.injected or self._replaced:
            wait_until(at)
            unanswered = {verdict.packet.root for verdict in verdicts}
            for verdict in verdicts:
                unanswered.discard(verdict.packet.root)
                self._answer_alone(verdict, unanswered)
        else:
            begin = max(time.monotonic_ns(), at)
            self._queue.answer(verdicts, at)
            self._note(verdicts, begin)

    def _answer_alone(self, verdict: Verdict, unanswered: Set[Packet]) -> None:
        """Carry one verdict out; others are to come for the unanswered packets."""
        begin = time.monotonic_ns()
        packet, root, fate = verdict.packet, verdict.packet.root, verdict.fate
        if fate == "injected":
            self._injected += 1
            original = root.copy_of
            if original is not None and (original.holder is not None or original in unanswered):
                self._send_early(packet, original)
            else:
                self.injector.send(packet)
        elif root.id not in self._replaced:
            self._queue.answer((verdict,))
        else:
            self._replaced.remove(root.id)
            if fate == "sent":
                self.injector.send(packet)
        self._note((verdict,), begin)

    def _send_early(self, copy: Packet, original: Packet) -> None:
        """Send a copy before the packet that it was copied from: in its place, if they are of one flow.

        Before a connection's first packet has gone, nothing that is injected belongs to the connection, and NAT would
        give it another port.
        """
        if not original.id or original.id in self._replaced or flow_key(copy.raw) != flow_key(original.raw):
            self.injector.send(copy)
            return
        changed = Packet(copy.raw, original.id)
        changed.origin = original
        self._queue.answer((Verdict(changed, "sent", 0),))
        self._replaced.add(original.id)

    def _note(self, verdicts: Sequence[Verdict], begin: int) -> None:
        """Record that these verdicts were carried out from `begin` (ns) until now."""
        end = time.monotonic_ns()
        self.holds.add(verdicts, end)
        if self.meter is not None:
            self.meter.left(verdicts, end)
        if self._drain_watcher is not None:
            self._drain_watcher.delivered(verdicts, end)
        if self._recorder is not None:
            tid = threading.get_native_id()
            self.take_changes()
            for verdict in verdicts:
                self._recorder.answered(verdict, begin, end, tid)

    def take_changes(self) -> None:
        """Count and record what has changed in the core. It keeps nothing of that, as a long run may change often."""
        changes = self._core.changes
        if not changes:
            return
        for change in changes:
            self.changed += 1
            if change.what == "replace":
                self.replaced += 1
                self.specs = change.specs or self.specs
            if self._recorder is not None:
                self._recorder.changed(change)
        changes.clear()

    def flush(self) -> None:
        """Write to the files what is recorded so far."""
        if self._recorder is not None:
            self._recorder.flush()
