"""loss: packets are dropped, at random or by number."""

from collections.abc import Collection
from typing import Literal

from shaper import Action, Chance, Drop, Numbers, Packet, Policy, Send, Share, Size

CONGESTION_EXPERIENCED = 3


class Loss(Policy):
    """Packets are dropped: at random, in bursts by a Markov chain, or those with given numbers.

    As netem's `loss`, one object for the link. Sources: tc-netem(8); loss_event() in the
    kernel's net/sched/sch_netem.c; for the models `state` and `gemodel`, Salsano, Ludovici,
    Ordine: "Definition of a general and intuitive loss model for packet networks".

    # loss packets=2+4-5
    +0     < a b c d e f
    +0     x b d e
    +0     > a c f
    """

    shorthand = "probability"
    can_hold = False

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One object for the link, as in netem; `flow` gives each flow its own random numbers."""
    model: Literal["random", "state", "gemodel"] = "random"
    """random: each packet with `probability`. state: four states, with p13, p31, p32, p23, p14.
    gemodel: Gilbert-Elliott, with p, r, bad_loss, good_loss."""
    probability: Share = 0.05
    """The share of packets that are dropped, with model=random."""
    correlation: Share = 0.0
    """How much each choice depends on the one before, with model=random."""
    p13: Share = 0.05
    """model=state, the probability of the change from good reception to a burst of losses."""
    p31: Share = 0.5
    """From a burst of losses to good reception."""
    p32: Share = 0.0
    """From a burst's losses to good reception within the burst."""
    p23: Share = 1.0
    """From good reception within the burst back to its losses."""
    p14: Share = 0.0
    """From good reception to an isolated loss."""
    p: Share = 0.02
    """model=gemodel, the probability of the change from the good state to the bad one."""
    r: Share = 0.3
    """From the bad state to the good one."""
    bad_loss: Share = 1.0
    """The share of packets lost in the bad state; tc's 1-h."""
    good_loss: Share = 0.0
    """The share of packets lost in the good state; tc's 1-k."""
    fragments: Size = 0
    """Bytes of payload of an IP fragment, such as 1480. A larger packet arrives if each of its fragments
    would: one draw for each. At `input`, datagrams are whole, and the network had fragments of them.
    0: one draw for each packet."""
    packets: Numbers = frozenset()
    """Drop only the packets with these numbers, counted from 1."""
    ecn: bool = False
    """Mark packets whose sender supports ECN, instead of dropping them (RFC 3168)."""

    def start(self) -> None:
        self._seen = 0
        self.on_change(("correlation", "model"))

    def on_change(self, changed: Collection[str]) -> None:
        if "correlation" in changed:
            self._chance = Chance(self.random, self.correlation)
        if "model" in changed:
            models = {"random": self._at_random, "state": self._by_state, "gemodel": self._by_gemodel}
            self._state, self._is_lost = 1, models[self.model]

    def on_packet(self, packet: Packet, now: int) -> Action | None:
        self._seen += 1
        if not (self._seen in self.packets if self.packets else self._is_any_lost(packet)):
            return None
        if self.ecn and not packet.truncated and (marked := mark(packet.raw, packet.ip.version)):
            return Send(packet.with_raw(marked))
        return Drop(packet)

    def _is_any_lost(self, packet: Packet) -> bool:
        if not self.fragments:
            return self._is_lost()
        payload = packet.length - packet.ip.header
        # All are drawn: the chance of what follows doesn't depend on which one was lost.
        return sum(self._is_lost() for _ in range(max(1, -(-payload // self.fragments)))) > 0

    def _at_random(self) -> bool:
        return self._chance.happens(self.probability)

    def _by_state(self) -> bool:
        """1: good reception; 2: good reception in a burst; 3: a burst's losses; 4: an isolated loss."""
        number = self.random.random()
        if self._state == 1:
            self._state = 4 if number < self.p14 else 3 if number < self.p14 + self.p13 else 1
        elif self._state == 2:
            self._state = 3 if number < self.p23 else 2
        elif self._state == 3:
            self._state = 2 if number < self.p32 else 1 if number < self.p32 + self.p31 else 3
        else:
            self._state = 1
        return self._state in (3, 4)

    def _by_gemodel(self) -> bool:
        """The state before this packet's change of state decides whether the packet is lost."""
        is_bad = self._state == 2
        if self.random.random() < (self.r if is_bad else self.p):
            self._state = 1 if is_bad else 2
        return self.random.random() < (self.bad_loss if is_bad else self.good_loss)


def mark(raw: bytes, version: int) -> bytes | None:
    """The packet with Congestion Experienced set; None if its sender doesn't support ECN."""
    if version == 4 and raw[1] & 3:
        return raw[:1] + bytes((raw[1] | CONGESTION_EXPERIENCED,)) + raw[2:]
    if version == 6 and raw[1] >> 4 & 3:
        return raw[:1] + bytes((raw[1] | CONGESTION_EXPERIENCED << 4,)) + raw[2:]
    return None
