"""The pipeline: a packet's way through the policies, and what they say done.

Everything happens at `now`, which the core moves on; what is planned for later goes
to the agenda, what leaves the last stage or is dropped becomes a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shaper.action import Action, Drop, Hold, Send, Wake
from shaper.agenda import Agenda
from shaper.answer import actions_of
from shaper.connections import Connections, Track
from shaper.failure import FAULTS, Failure, PolicyError
from shaper.packet import Packet
from shaper.policy import Policy
from shaper.seat import Seat, seat_for, stage_names
from shaper.verdict import Fate, Verdict

_new = tuple.__new__


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
        self.failures: list[Failure] = []
        self.prototypes = tuple(policy.prototype() for policy in prototypes)
        self.names = stage_names(prototypes)
        self._depth = len(self.prototypes)
        self._connections = connections
        self._seed = seed
        self._max_hold = max_hold
        self._queue_seats: dict[int, Seat] = {}

    # The way through the stages.

    def enter(self, packet: Packet, track: Track, stage: int = 0) -> None:
        """The packet reaches this stage, or the end of the pipeline."""
        seats = track.seats
        if seats is None:
            seats = track.seats = [self._seat(track, index) for index in range(self._depth)]
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
                answer = seat.policy.on_packet(packet, self.now)
            except FAULTS as error:
                self._fail(seat, error, "on_packet", packet)
                return
            if type(answer) is Send and answer.packet is packet and type(answer.at) is int:
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
        if packet.id == 0:
            if fate == "dropped":
                return
            fate = "injected"
            self.injected += 1
        elif fate == "sent":
            self.sent += 1
        else:
            self.dropped += 1
        # As Verdict(…), without a call in Python.
        self.verdicts.append(_new(Verdict, (packet, fate, self.now)))

    def retire(self) -> None:
        """From now on packets pass by all policies, whose objects are forgotten."""
        self._depth, self._queue_seats = 0, {}

    def _seat(self, track: Track, stage: int) -> Seat:
        """Where packets of this flow sit at this stage."""
        policy, connection = self.prototypes[stage], track.connection
        identity = f"{self._seed}|{stage}|{type(policy).__name__}"
        seats = self._queue_seats
        if policy.scope != "queue":
            identity += f"|{connection.identity}"
            seats = connection.seats
        if policy.scope == "flow":
            identity += f"|{track.direction}"
            seats = {}
        if stage not in seats:
            seats[stage], failure = seat_for(policy, self.names[stage], stage, identity)
            if failure is not None:
                self.failures.append(failure)
        return seats[stage]

    # Time has come.

    def wake(self, seat: Seat) -> None:
        seat.wake = None
        try:
            answer = seat.policy.on_wake(self.now)
        except FAULTS as error:
            self._fail(seat, error, "on_wake", None)
            return
        if answer is not None:
            self._carry_out(seat, answer, None)

    def release(self, seat: Seat, packet: Packet) -> None:
        """A planned packet goes on; one that is still held until told has been held too long."""
        if seat.held and packet.root in seat.held:
            self._cut_short(packet)
        seat.let_go(packet, self.now)
        if seat.stage + 1 == self._depth:
            self.conclude(packet, "sent")
        else:
            self.go_on(seat, packet)

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
            seat.let_go(packet, self.now)
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
        now = self.now
        if at is None or at <= now:
            self.go_on(seat, packet)
            return
        root = packet.origin or packet
        if at > root.arrived + self._max_hold:
            self._cut_short(packet)
            at = max(root.arrived + self._max_hold, now)
        seat.take(packet, now)
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
        latest = packet.root.arrived + self._max_hold
        if latest > self.now:
            seat.take(packet, self.now, until_told=True)
            packet.root.plan = self.agenda.add_far(latest, seat, packet)
        else:
            self._cut_short(packet)
            self.go_on(seat, packet)

    def _cut_short(self, packet: Packet) -> None:
        if not packet.root.cut_short:
            packet.root.cut_short = True
            self.cut_short += 1

    def _plan_wake(self, seat: Seat, at: int, *, is_woken: bool) -> None:
        at = seat.plan_wake(at, self.now, is_woken=is_woken)
        if seat.wake == at:
            return
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
