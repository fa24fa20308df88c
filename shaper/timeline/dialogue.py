"""What is said of the packets of a story, and what goes without saying.

TCP's numbers are told as tcpdump tells them: relative to the SYN's. What isn't told is
what a sender would do next: its next sequence number, an acknowledgement of all that
the other side has sent, a full window.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shaper.timeline.packet_spec import (
    WINDOW,
    Ends,
    PacketSpec,
    end_of,
    ends_of,
    is_bare_ack,
    least_options,
    spec_of,
)
from shaper.timeline.story import Mention
from shaper.timeline.words import CARRIERS, ECN, FLAGS, PAYLOAD, ends, read
from shaper.wire.header import ACK, FIN, PSH, RST, SYN, WRAP


@dataclass
class Side:
    """One end of a TCP connection: its first sequence number and the next one, in its own bytes."""

    isn: int | None = None
    next: int = 1


@dataclass
class Sides:
    """Both ends, the opener first."""

    ends: Ends
    sides: tuple[Side, Side] = field(default_factory=lambda: (Side(), Side()))


class Dialogue:
    """What has been said so far in a story: where its flows lead and where their numbers stand."""

    def __init__(self, flows: tuple[tuple[int, str, str], ...] = ()) -> None:
        self._declared = {number: ends(source, destination) for number, source, destination in flows}
        self._sides: dict[Ends, Sides] = {}
        self._mentioned: dict[Ends, int] = {}

    # Words -> look.

    def understand(self, mention: Mention, line: int = 0, *, remember: bool = True) -> tuple[PacketSpec, Ends]:
        """What a packet looks like, of which these words are said.

        Raises:
            StoryError: a word that there isn't, or a value that it can't have.
        """
        said = read(mention, line)
        ends = self._ends_of_flow(said.get("flow", 1), "v6" in said)
        self._mentioned.setdefault(ends, said.get("flow", 1))
        if "reply" in said:
            ends = ends.reverse
        look = self._look(said, mention, ends)
        if remember:
            self._advance(look, ends)
        return look, ends

    def _ends_of_flow(self, flow: int, is_v6: bool) -> Ends:
        if flow in self._declared:
            return self._declared[flow]
        # Addresses for documentation: RFC 5737, RFC 3849.
        if is_v6:
            return Ends(f"2001:db8::{flow:x}", 40000 + flow, "2001:db8:1::1", 80)
        return Ends(f"192.0.2.{flow}", 40000 + flow, "198.51.100.1", 80)

    def _look(self, said: dict[str, int], mention: Mention, ends: Ends) -> PacketSpec:
        text = next((word.removeprefix("text=") for word in mention.words if word.startswith("text=")), "")
        ecn = next((bits for word, bits in ECN.items() if word in said), 0)
        for kind in CARRIERS:
            if kind in said:
                payload = len(text) or (PAYLOAD if said[kind] < 0 else said[kind])
                return PacketSpec(kind, payload, ecn=ecn, text=text)
        mine, peers = self._pair(ends)
        flags = 0 if "noack" in said or "syn" in said else ACK
        for word, bits in FLAGS.items():
            flags |= bits if word in said else 0
        if "synack" in said:
            flags |= SYN | ACK
        if "noack" in said:
            flags &= ~ACK
        carries = not flags & (SYN | FIN | RST) and (
            not said.keys() & {"ack", "sack", "win"} or flags & PSH or "data" in said
        )
        payload = len(text) or said.get("data", -1)
        if payload < 0:
            payload = PAYLOAD if carries or "data" in said else 0
        seq = (mine.isn or 0) + said["seq"] if "seq" in said else _default_seq(mine, flags)
        ack = 0
        if flags & ACK:
            ack = (peers.isn or 0) + said["ack"] if said.get("ack", -1) >= 0 else peers.next
        look = PacketSpec(
            "tcp", payload, flags, seq % WRAP, ack % WRAP, said.get("win", WINDOW), "sack" in said, text=text
        )
        look = look._replace(mss=said.get("mss", 0), ecn=ecn)
        return look._replace(options=said.get("options", least_options(look)))

    # PacketSpec -> words.

    def tell(self, raw: bytes, number: int | None = None, *, remember: bool = True) -> list[str]:
        """The words that say what this packet looks like; as few as will do.

        Args:
            raw: its bytes.
            number: its flow's; None: that of which it was said to be.
            remember: whether the next packet's numbers follow on this one's.
        """
        look, ends = spec_of(raw), ends_of(raw)
        is_reply = False
        if number is None:
            number, is_reply = self._find(ends)
        words = []
        if look.kind == "tcp":
            # A reset may answer with a number of no connection, and a packet that a policy made begins none.
            if remember and not look.flags & RST:
                self._meet(look, ends)
            words = self._tcp_words(look, ends)
        else:
            words.append(look.kind if look.text or look.payload == PAYLOAD else f"{look.kind}={look.payload}")
            words += [f"text={look.text}"] if look.text else []
        words += [name for name, bits in ECN.items() if look.ecn == bits]
        if number != 1:
            words.append(f"flow={number}")
        if is_reply or (number in self._declared and self._declared[number] != ends):
            words.append("reply")
        if remember:
            self._advance(look, ends)
        return words

    def _find(self, ends: Ends) -> tuple[int, bool]:
        """The flow with these ends, and whether this is its reply direction; without ports the addresses decide."""
        for known, number in self._mentioned.items():
            for way, is_reply in ((known, False), (known.reverse, True)):
                if ends == way or (not ends.sport and ends == way._replace(sport=0, dport=0)):
                    return number, is_reply
        return 1, False

    def changes(self, before: bytes, after: bytes) -> list[str]:
        """The words for what a policy changed in a packet; none where the bytes are the same."""
        if before == after:
            return []
        old, new = spec_of(before), spec_of(after)
        mine, peers = self._pair(ends_of(after))
        words = []
        if new.kind != old.kind:
            words.append(new.kind)
        if new.payload != old.payload:
            words.append(f"data={new.payload}" if new.kind == "tcp" else f"{new.kind}={new.payload}")
        for name, bits in {**FLAGS, "ack": ACK}.items():
            bit = bits & ~ACK if name != "ack" else ACK
            if new.flags & bit != old.flags & bit:
                words.append(name if new.flags & bit else f"no{name}")
        if new.seq != old.seq:
            words.append(f"seq={(new.seq - (mine.isn or 0)) % WRAP}")
        if new.ack != old.ack:
            words.append(f"ack={(new.ack - (peers.isn or 0)) % WRAP}")
        if new.window != old.window:
            words.append(f"win={new.window}")
        if new.mss != old.mss:
            words.append(f"mss={new.mss}")
        if new.ecn != old.ecn:
            words.append(next((name for name, bits in ECN.items() if bits == new.ecn), "noecn"))
        return words or ["changed"]

    def _tcp_words(self, look: PacketSpec, ends: Ends) -> list[str]:
        mine, peers = self._pair(ends)
        words = []
        flags = look.flags
        if flags & SYN:
            words.append("synack" if flags & ACK else "syn")
        words += [name for name in ("fin", "rst", "psh", "urg", "ece", "cwr") if flags & FLAGS[name] & ~ACK]
        if not flags & (ACK | SYN):
            words.append("noack")
        if look.text:
            words.append(f"text={look.text}")
        elif look.payload and (look.payload != PAYLOAD or flags & (SYN | FIN | RST)):
            words.append(f"data={look.payload}")
        if look.seq != _default_seq(mine, flags) % WRAP:
            words.append(f"seq={(look.seq - (mine.isn or 0)) % WRAP}")
        if flags & ACK and look.ack != peers.next % WRAP:
            words.append(f"ack={(look.ack - (peers.isn or 0)) % WRAP}")
        elif is_bare_ack(look) and not look.sack:
            words.append("ack")
        if look.window != WINDOW:
            words.append(f"win={look.window}")
        if look.sack:
            words.append("sack")
        if look.mss:
            words.append(f"mss={look.mss}")
        if look.options != least_options(look):
            words.append(f"options={look.options}")
        plain = not flags & (SYN | FIN | RST) and not any(word.startswith(("data", "text")) for word in words)
        says_ack = any(word.startswith(("ack", "sack", "win")) for word in words)
        if plain and look.payload and says_ack and not flags & PSH:
            words.insert(0, "data")
        if plain and not look.payload and (not says_ack or flags & PSH):
            words.insert(0, "data=0")
        return words

    # Where the numbers stand.

    def _pair(self, ends: Ends) -> tuple[Side, Side]:
        """The sides of the sender and of the receiver."""
        both = self._sides.get(ends) or self._sides.get(ends.reverse)
        if both is None:
            both = self._sides[ends] = Sides(ends)
        first, second = both.sides
        return (first, second) if both.ends == ends else (second, first)

    def _meet(self, look: PacketSpec, ends: Ends) -> None:
        """Take the first sequence numbers of both sides from the first packet that shows them."""
        mine, peers = self._pair(ends)
        if mine.isn is None:
            mine.isn = (look.seq - (not look.flags & SYN)) % WRAP
            mine.next = mine.isn + 1
        if peers.isn is None and look.flags & ACK:
            peers.isn = (look.ack - 1) % WRAP
            peers.next = look.ack

    def _advance(self, look: PacketSpec, ends: Ends) -> None:
        # As for its sender's state (see `shaper.wire.segment`), a reset says nothing about what follows.
        if look.kind != "tcp" or look.flags & RST:
            return
        mine, _ = self._pair(ends)
        end = end_of(look)
        if look.flags & SYN or 0 < (end - mine.next) % WRAP < WRAP // 2:
            mine.next = end


def _default_seq(side: Side, flags: int) -> int:
    return side.isn or 0 if flags & SYN else side.next
