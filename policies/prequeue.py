"""prequeue: the receiving process runs TCP once it is scheduled, as in Linux up to 4.13."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from shaper import UNIFORM, Action, Chance, Count, Duration, Hold, Packet, Policy, Send, Shape, Signal, Size, Wake, ms

# include/linux/skbuff.h, SKB_TRUESIZE: what the kernel charges beyond a packet's own bytes, on a 64-bit machine.
OVERHEAD = 576
# include/net/tcp.h, TCP_DELACK_MIN: when the delayed-ACK timer tries again.
RETRY = 40 * ms


class Prequeue(Policy):
    """Segments for a process that sleeps in `recv` wait until it runs, as in Linux's TCP prequeue.

    Up to Linux 4.13, such segments were not processed in softirq context: they were queued for
    the process, which ran TCP's receive path itself, and so sent the ACKs. Late ACKs smooth a
    bulk sender, whose rate then follows the reader, and harm small, urgent messages. The rules
    are the kernel's: tcp_prequeue() in net/ipv4/tcp_ipv4.c and tcp_delack_timer_handler() in
    tcp_timer.c. The counters have the kernel's names.

    With `hold=acks` data passes, and the ACKs that answer it wait until the reader would have
    run; with `reader=process`, until the real reader has run. The kernel's own delayed ACKs
    come on top. Make it the last of several policies, since nothing is between it and the
    receiver.

    Not emulated: who pays for the work. The kernel charged it to the reader, which is
    impossible here.

    # prequeue wake=30ms
    +0     < a b            the first wakes the reader; the second only joins it
    +.030  > a b            the reader runs, and takes both

    # prequeue wake=10s
    +0     < a              the reader is not scheduled for long
    +.150  > a              so the delayed-ACK timer takes its place
    """

    needs = "headers"
    shorthand = "wake"

    reader: Literal["blocking", "poll", "none", "process"] = "blocking"
    """blocking: a process sleeps in recv. poll, none: the reader never uses the prequeue. process: the
    real reader at the other end of the connection, which has run when it has emptied its socket; this
    implies `hold=acks`, and `wake` and `busy` have no effect."""
    wake: Duration = 5 * ms
    """How long it takes until the reader is scheduled, on average."""
    jitter: Duration = 0
    """How far `wake` spreads, as in `delay`."""
    distribution: Shape = UNIFORM
    """How `wake` is distributed, as in `delay`."""
    busy: Duration = 0
    """How long the reader, once scheduled, keeps the socket locked before it takes the queue."""
    hold: Literal["data", "acks"] = "data"
    """data: segments wait. acks: they pass, and the receiver's pure ACKs wait instead."""
    low_latency: bool = False
    """As sysctl tcp_low_latency=1: no prequeue."""
    rto_min: Duration = 200 * ms
    """The delayed-ACK timer fires after three quarters of this time."""
    rcvbuf: Size = 212992
    """If more memory than this is queued, all segments are processed at once."""
    max_segments: Count = 32
    """If this many segments are queued, all are processed at once (4.x); 0: no such rule."""
    pure_ack_bypass: bool = True
    """A segment without payload does not start a queue (3.x and later)."""
    scope: Literal["connection"] = "connection"
    """One object for both directions, each of which has a receiver."""

    def start(self) -> None:
        self._receivers = {direction: Receiver(self) for direction in ("original", "reply")}
        self._asked_for = self.signals

    def on_change(self, changed: Collection[str]) -> None:
        if self.signals != self._asked_for:
            raise ValueError(
                "whether the real reader is watched, as with reader=process, can't be changed while packets flow; "
                "replace the pipeline instead"
            )

    @property
    def signals(self) -> tuple[Literal["drained"], ...]:
        """With `reader=process`, the policy must know when the reader has emptied its socket."""
        return ("drained",) if self.reader == "process" and not self.low_latency else ()

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if self.reader in ("poll", "none") or self.low_latency:
            return None
        receiver = self._receivers[packet.direction]
        # The end that this packet comes from.
        sender = self._receivers["reply" if packet.direction == "original" else "original"]
        if packet.tcp is None:
            # No segment, or one of which too little was copied: it isn't held, but it doesn't overtake others either.
            waiting = sender.give_back() if self.lets_data_pass else receiver.process()
            return self._go_on([*waiting, packet]) if waiting else None
        # No process can sleep in recv on a connection that is not established; it is once segments wait.
        if packet.kind in ("syn", "synack", "handshake-ack") and not receiver.is_waiting:
            late = sender.give_back() if self.lets_data_pass else []
            return self._go_on([*late, packet]) if late else None
        if not self.lets_data_pass:
            released = receiver.segment(packet, now)
            return [Hold(packet), *self._go_on(released)] if receiver.has(packet) else self._go_on(released)
        if packet.kind == "pure-ack" and sender.is_waiting:
            sender.keep(packet)
            return [Hold(packet), *self._go_on([])]
        # Held ACKs go on before a packet that isn't held, because it acknowledges as much and would make them stale.
        return self._go_on([*sender.give_back(), packet, *receiver.segment(packet, now)])

    def on_wake(self, now: int) -> list[Action]:
        return self._go_on([one for receiver in self._receivers.values() for one in receiver.time_passes(now)])

    def on_signal(self, signal: Signal, now: int) -> list[Action]:
        """The receiver's process has read everything that its socket had received."""
        return self._go_on(self._receivers[signal.direction].process())

    @property
    def lets_data_pass(self) -> bool:
        """Whether segments go on at once, and the ACKs that answer them wait instead."""
        return self.hold == "acks" or self.reader == "process"

    def _go_on(self, packets: list[Packet]) -> list[Action]:
        """These packets go on, and a Wake comes when more may go on."""
        times = [time for receiver in self._receivers.values() for time in receiver.times()]
        return [*map(Send, packets), *([Wake(min(times))] if times else [])]


class Receiver:
    """The prequeue of one end. With `hold=acks` it counts segments that have gone on, and holds ACKs."""

    def __init__(self, policy: Prequeue) -> None:
        self._policy = policy
        self._chance: Chance | None = None
        self._segments = self._memory = 0
        self._packets: list[Packet] = []
        self._runs: int | None = None  # when the reader is scheduled
        self._unlocks: int | None = None  # when it takes the queue, if it has the socket by then
        self._timer: int | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether there are segments that its reader has not processed."""
        return self._segments > 0

    def times(self) -> list[int]:
        """When something will happen, in ns."""
        return [time for time in (self._runs, self._unlocks, self._timer) if time is not None]

    def has(self, packet: Packet) -> bool:
        """Whether it holds this packet."""
        return packet in self._packets

    def keep(self, packet: Packet) -> None:
        """Hold an ACK that this end has sent, until its reader has run."""
        self._packets.append(packet)

    def give_back(self) -> list[Packet]:
        """Return all packets that it holds, and hold them no longer."""
        packets, self._packets = self._packets, []
        return packets

    def segment(self, packet: Packet, now: int) -> list[Packet]:
        """A segment arrives; returns the packets that go on because of it."""
        policy, tcp = self._policy, packet.tcp
        assert tcp is not None
        if self._unlocks is None and not self._segments and policy.pure_ack_bypass and not tcp.payload:
            return []
        policy.tally("TCPPrequeued")
        self._segments += 1
        self._memory += packet.length + OVERHEAD
        if not policy.lets_data_pass:
            self._packets.append(packet)
        if self._unlocks is not None:
            return []  # in the backlog of a locked socket, which is processed when it is unlocked
        if self._memory > policy.rcvbuf or 0 < policy.max_segments <= self._segments:
            policy.tally("TCPPrequeueDropped", self._segments)
            return self.process()
        if self._segments == 1:
            if self._runs is None and policy.reader == "blocking":
                self._runs = now + self._takes_to_wake()
            if self._timer is None:
                self._timer = now + policy.rto_min * 3 // 4
        return []

    def time_passes(self, now: int) -> list[Packet]:
        """The packets that go on because the reader runs or the timer fires."""
        if self._runs is not None and now >= self._runs:
            self._runs, self._unlocks = None, now + self._policy.busy
        if self._unlocks is not None and now >= self._unlocks:
            self._unlocks = None
            return self.process()
        if self._timer is not None and now >= self._timer:
            if self._unlocks is not None:
                self._policy.tally("DelayedACKLocked")
                self._timer = now + RETRY
                return []
            self._timer = None
            if self._segments:
                self._policy.tally("TCPSchedulerFailed")
            return self.process()
        return []

    def process(self) -> list[Packet]:
        """All queued segments go through TCP, which acknowledges them by its own rules."""
        self._segments = self._memory = 0
        self._timer = None
        return self.give_back()

    def _takes_to_wake(self) -> int:
        policy = self._policy
        if not policy.jitter:
            return policy.wake
        if self._chance is None:
            self._chance = Chance(policy.random)
        return max(0, policy.distribution.draw(policy.wake, policy.jitter, self._chance))
