"""The pipeline: a packet's way through the policies, and what they say done.

Everything happens at `now`, which the core moves on; what is planned for later goes
to the agenda, what leaves the last stage or is dropped becomes a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from shaper.core.agenda import Agenda
from shaper.core.answer import actions_of
from shaper.core.connections import Connections, Track
from shaper.core.failure import FAULTS, Failures, PolicyError
from shaper.core.instances import Seat
from shaper.core.seating import Seating, stage_names
from shaper.core.verdict import Fate, Verdict
from shaper.policy.action import Action, Drop, Hold, Send, Wake
from shaper.policy.base import Policy
from shaper.policy.signal import Signal
from shaper.wire.packet import Packet


class Pipeline:
    """Policies in a row, with the seats at which packets meet them.

    Attributes:
        now: the time of what happens, in ns.
        prototypes, names: the policies, and what they are called.
        sent, dropped, injected, cut_short, overflowed, failures: see `Core`.
    """

    def __init__(self, prototypes: Sequence[Policy], connections: Connections, seed: int | str, max_hold: int) -> None:
        self.now = 0
        self.agenda = Agenda()
        self.verdicts: list[Verdict] = []
        self.sent = self.dropped = self.injected = self.cut_short = self.overflowed = 0
        self.failures = Failures()
        self.prototypes = tuple(policy.prototype() for policy in prototypes)
        self.names = stage_names(prototypes)
        self._depth = len(self.prototypes)
        self._connections = connections
        self._seating = Seating(self.prototypes, self.names, seed, self.failures)
        self._max_hold = max_hold

    def advance(self, now: int) -> None:
        """Let everything happen that is planned up to `now`, each at its own time."""
        agenda = self.agenda
        while agenda.earliest <= now:
            at, number, seat, packet = agenda.pop()
            if at > self.now:
                self.now = at
            if packet is None:
                if seat.wake == at:
                    seat.wake = None
                    self.wake(seat)
                continue
            root = packet.origin or packet
            if root.plan != number:
                continue  # a later plan replaced it
            if seat.held and root in seat.held:
                self._cut_short(root)  # it waited to be told, for too long
            seat.let_go(root, self.now)
            if seat.stage + 1 == self._depth:
                self.conclude(packet, "sent")
            else:
                self.go_on(seat, packet)
        self.now = now

    # The way through the stages.

    def enter(self, packet: Packet, track: Track, stage: int = 0) -> None:
        """The packet reaches this stage, or the end of the pipeline."""
        seats = track.seats
        if seats is None:
            seats = track.seats = self._seating.of(track)
        while stage < self._depth:
            seat = seats[stage]
            stage += 1
            if seat.selects and not seat.shapes(packet):
                continue
            if seat.limited and seat.is_full(packet):
                self.overflowed += 1
                packet.root.by = seat.name
                self.conclude(packet, "dropped")
                return
            try:
                answer: Any = seat.on_packet(packet, self.now)
            except FAULTS as error:
                self._fail(seat, error, "on_packet", packet)
                return
            kind: type = type(answer)  # by itself, since what a policy put into its Send isn't known either
            if kind is Send and answer.packet is packet and type(answer.at) is int:
                self._send(seat, packet, answer.at)
                return
            if answer is not None:
                self._carry_out(seat, answer, packet)
                return
        self.conclude(packet, "sent")

    def go_on(self, seat: Seat, packet: Packet) -> None:
        """The packet goes from this seat to the next stage."""
        assert packet.track is not None
        self.enter(packet, packet.track, seat.stage + 1)

    def conclude(self, packet: Packet, fate: Fate) -> None:
        """The packet leaves the pipeline."""
        if packet.id:
            if fate == "sent":
                self.sent += 1
            else:
                self.dropped += 1
        elif fate == "sent":
            fate = "injected"
            self.injected += 1
        else:
            return
        self.verdicts.append(Verdict(packet, fate, self.now))

    def retire(self) -> None:
        """From now on packets pass by all policies, whose objects are forgotten."""
        self._depth = 0
        self._seating.close()

    def wake(self, seat: Seat, signal: Signal | None = None) -> None:
        """The time has come that it asked for, or something has happened that it asked for."""
        hook = "on_wake" if signal is None else "on_signal"
        try:
            answer = seat.policy.on_wake(self.now) if signal is None else seat.policy.on_signal(signal, self.now)
        except FAULTS as error:
            self._fail(seat, error, hook, None)
            return
        if answer is not None:
            self._carry_out(seat, answer, None)

    # What a policy says.

    def _carry_out(self, seat: Seat, answer: Action | Iterable[Action], current: Packet | None) -> None:
        """Do what the policy said, in its order; a current packet that it didn't mention goes on first."""
        undisposed = current
        try:
            actions = actions_of(answer)
            about = [action for action in actions if not isinstance(action, Wake)]
            if current is not None and all(action.packet.root is not current.root for action in about):
                undisposed = None
                self.go_on(seat, current)
            sent: set[Packet] = set()
            for action in actions:
                if isinstance(action, Wake):
                    self._plan_wake(seat, action.at, is_woken=current is None)
                    continue
                packet = action.packet
                if isinstance(action, Send) and packet.root in sent:
                    self._duplicate(seat, packet, action.at)
                    continue
                if undisposed is not None and packet.root is undisposed.root:
                    undisposed = None
                elif not self._claim(seat, action):
                    continue
                if isinstance(action, Send):
                    sent.add(packet.root)
                    self._send(seat, packet, action.at)
                elif isinstance(action, Hold):
                    self._hold(seat, packet)
                else:
                    packet.root.by = seat.name
                    self.conclude(packet, "dropped")
        except FAULTS as error:
            self._fail(seat, error, "on_packet" if current is not None else "on_wake", undisposed)

    def _claim(self, seat: Seat, action: Send | Drop | Hold) -> bool:
        """Whether this seat may dispose of the packet, which it then holds no longer.

        Raises:
            PolicyError: it is not this seat's to send, drop or hold.
        """
        packet, root = action.packet, action.packet.root
        if root.cut_short and root.holder is not seat:
            return False  # it went on when its time was over
        if root in seat.held:
            root.plan = 0
            seat.let_go(root, self.now)
            self.agenda.note_replaced()
            return True
        if root.id == 0 and root.holder is None and not isinstance(action, Drop):
            self._adopt(seat, packet)
            return True
        if isinstance(action, Send) and root.holder is seat:
            self._duplicate(seat, packet, action.at)
            return False
        can = "it can use the packet it was just given and those it answered with Hold"
        raise PolicyError(f"{action!r}: {seat.name} does not hold this packet; {can}")

    def _send(self, seat: Seat, packet: Packet, at: int | None) -> None:
        if at is None or at <= self.now:
            self.go_on(seat, packet)
            return
        root = packet.origin or packet
        if at > root.arrived + self._max_hold:
            self._cut_short(root)
            at = max(root.arrived + self._max_hold, self.now)
        seat.take(root, self.now)
        root.plan = self.agenda.add(at, seat, packet)

    def _duplicate(self, seat: Seat, packet: Packet, at: int | None) -> None:
        twin = packet.copy()
        self._adopt(seat, twin)
        self._send(seat, twin, at)

    def _adopt(self, seat: Seat, packet: Packet) -> None:
        """A packet that a policy made arrives when it is sent or held."""
        packet.root.arrived = packet.root.taken = self.now
        packet.root.by = seat.name
        self._connections.find(packet, self.now)

    def _hold(self, seat: Seat, packet: Packet) -> None:
        root = packet.root
        latest = root.arrived + self._max_hold
        if latest > self.now:
            seat.take(root, self.now)
            seat.held[root] = packet
            root.plan = self.agenda.add_far(latest, seat, packet)
        else:
            self._cut_short(root)
            self.go_on(seat, packet)

    def _cut_short(self, root: Packet) -> None:
        if not root.cut_short:
            root.cut_short = True
            self.cut_short += 1

    def _plan_wake(self, seat: Seat, at: int, *, is_woken: bool) -> None:
        at = seat.plan_wake(at, self.now, is_woken=is_woken)
        if seat.wake != at:
            if seat.wake is not None:
                self.agenda.note_replaced()
            seat.wake = at
            self.agenda.add(at, seat, None)

    def _fail(self, seat: Seat, error: Exception | SystemExit, hook: str, current: Packet | None) -> None:
        """Fail open: what the policy holds and the current packet go on, and all that comes later passes by it."""
        self.failures.append(seat.failed(error, hook))
        packets = seat.release(self.now)
        if current is not None:
            packets.append(current)
        for packet in packets:
            self.go_on(seat, packet)
