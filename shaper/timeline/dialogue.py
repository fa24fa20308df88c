"""The words for packets in a story: packets are made from them, and described with them.

TCP's numbers are relative to the SYN's, as tcpdump prints them. What the words leave out is
what the sender would do next: its next sequence number, an acknowledgement of all that the
other side has sent, a full window.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shaper.timeline.packet_spec import (
    WINDOW,
    Ends,
    PacketSpec,
    end_of,
    ends_of,
    implied_options,
    is_pure_ack,
    spec_of,
)
from shaper.timeline.story import Mention, StoryError
from shaper.wire.flow import parse_end
from shaper.wire.header import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, WRAP

PAYLOAD = 100
"""Bytes of payload of a packet that has no word for it."""

FLAGS = {"syn": SYN, "fin": FIN | ACK, "rst": RST | ACK, "psh": PSH, "urg": URG, "ece": ECE, "cwr": CWR}
ECN = {"ect1": 1, "ect0": 2, "ce": 3}
CARRIERS = ("udp", "icmp", "other", "fragment")
NUMBERS = ("seq", "ack", "win", "data", "mss", "options", "flow", "id", "offset", *CARRIERS)
PLAIN = (*FLAGS, "synack", "noack", "sack", "reply", "v6", "nodf", *ECN, "ack", "data", *CARRIERS)


@dataclass
class Side:
    """One end of a TCP connection: its first sequence number and its next one, as in the packets."""

    isn: int | None = None
    next: int = 1


@dataclass
class Sides:
    """Both ends of a TCP connection, the opener first."""

    ends: Ends
    sides: tuple[Side, Side] = field(default_factory=lambda: (Side(), Side()))


class Dialogue:
    """The packets of a story so far: the ends of its flows, and each side's sequence numbers.

    Args:
        flows: the ends that the story declares: (number, source, destination).

    Raises:
        StoryError: an end is not an address.
    """

    def __init__(self, flows: tuple[tuple[int, str, str], ...] = ()) -> None:
        self._declared: dict[int, Ends] = {}
        for flow in flows:
            self.declare(*flow)
        self._sides: dict[Ends, Sides] = {}
        self._mentioned: dict[Ends, int] = {}

    def declare(self, number: int, source: str, destination: str) -> None:
        """Give a flow its ends.

        Raises:
            StoryError: an end is not an address.
        """
        self._declared[number] = _ends(source, destination)

    # From words to packets.

    def read(self, mention: Mention, line: int = 0, *, remember: bool = True) -> tuple[PacketSpec, Ends]:
        """The packet that these words describe.

        Args:
            mention: the packet's name and words.
            line: its line, for the error.
            remember: whether the next packet's numbers follow on this one's.

        Raises:
            StoryError: there is no such word, or it can't have this value.
        """
        words = _values(mention, line)
        ends = self._ends_of_flow(words.get("flow", 1), "v6" in words)
        self._mentioned.setdefault(ends, words.get("flow", 1))
        if "reply" in words:
            ends = ends.reverse
        spec = self._spec(words, mention, ends)
        if remember:
            self._advance(spec, ends)
        return spec, ends

    def _ends_of_flow(self, flow: int, is_v6: bool) -> Ends:
        if flow in self._declared:
            return self._declared[flow]
        # Addresses for documentation: RFC 5737, RFC 3849.
        if is_v6:
            return Ends(f"2001:db8::{flow:x}", 40000 + flow, "2001:db8:1::1", 80)
        return Ends(f"192.0.2.{flow}", 40000 + flow, "198.51.100.1", 80)

    def _spec(self, words: dict[str, int], mention: Mention, ends: Ends) -> PacketSpec:
        text = next((word.removeprefix("text=") for word in mention.words if word.startswith("text=")), "")
        ecn = next((bits for word, bits in ECN.items() if word in words), 0)
        for kind in CARRIERS:
            if kind in words:
                payload = len(text) or (PAYLOAD if words[kind] < 0 else words[kind])
                answers = kind == "icmp" and "reply" in words
                number, offset = words.get("id", 0), words.get("offset", 0) & 0xFFF8
                spec = PacketSpec(kind, payload, ecn=ecn, text=text, answers=answers, id=number, offset=offset)
                return spec._replace(fragmentable="nodf" in words)
        mine, peers = self._pair(ends)
        flags = 0 if "noack" in words or "syn" in words else ACK
        for word, bits in FLAGS.items():
            flags |= bits if word in words else 0
        if "synack" in words:
            flags |= SYN | ACK
        if "noack" in words:
            flags &= ~ACK
        carries = not flags & (SYN | FIN | RST) and (
            not words.keys() & {"ack", "sack", "win"} or flags & PSH or "data" in words
        )
        payload = len(text) or words.get("data", -1)
        if payload < 0:
            payload = PAYLOAD if carries or "data" in words else 0
        seq = (mine.isn or 0) + words["seq"] if "seq" in words else _default_seq(mine, flags)
        ack = 0
        if flags & ACK:
            ack = (peers.isn or 0) + words["ack"] if words.get("ack", -1) >= 0 else peers.next
        spec = PacketSpec(
            "tcp", payload, flags, seq % WRAP, ack % WRAP, words.get("win", WINDOW), "sack" in words, text=text
        )
        spec = spec._replace(mss=words.get("mss", 0), ecn=ecn, fragmentable="nodf" in words)
        return spec._replace(options=words.get("options", implied_options(spec)))

    # From packets to words.

    def describe(self, raw: bytes, number: int | None = None, *, remember: bool = True) -> list[str]:
        """The words for this packet, as few as possible.

        Args:
            raw: its bytes.
            number: its flow's; None for the flow that was mentioned with its ends.
            remember: whether the next packet's numbers follow on this one's.
        """
        spec, ends = spec_of(raw), ends_of(raw)
        is_reply = False
        if number is None:
            number, is_reply = self._find(ends)
        words = []
        if spec.kind == "tcp":
            # A reset may carry the numbers of no connection, and a packet that a policy made opens none.
            if remember and not spec.flags & RST:
                self._meet(spec, ends)
            words = self._tcp_words(spec, ends)
        else:
            words.append(spec.kind if spec.text or spec.payload == PAYLOAD else f"{spec.kind}={spec.payload}")
            words += [f"text={spec.text}"] if spec.text else []
            words += [f"id={spec.id}"] if spec.id > (spec.kind == "icmp") else []
            words += [f"offset={spec.offset}"] if spec.offset else []
        words += [name for name, bits in ECN.items() if spec.ecn == bits]
        words += ["nodf"] if spec.fragmentable else []
        if number != 1:
            words.append(f"flow={number}")
        is_declared_reply = number in self._declared and self._declared[number] != ends
        # An answer to an ICMP query may have the same address at both ends.
        if is_reply or is_declared_reply or (spec.answers and ends == ends.reverse):
            words.append("reply")
        if remember:
            self._advance(spec, ends)
        return words

    def _find(self, ends: Ends) -> tuple[int, bool]:
        """The number of the flow with these ends, and whether they are its reply's; without ports addresses decide."""
        for known, number in self._mentioned.items():
            for way, is_reply in ((known, False), (known.reverse, True)):
                if ends == way or (not ends.sport and ends == way._replace(sport=0, dport=0)):
                    return number, is_reply
        return 1, False

    def changes(self, before: bytes, after: bytes) -> list[str]:
        """The words for what a policy changed in a packet; none if the bytes are the same."""
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

    def _tcp_words(self, spec: PacketSpec, ends: Ends) -> list[str]:
        mine, peers = self._pair(ends)
        words = []
        flags = spec.flags
        if flags & SYN:
            words.append("synack" if flags & ACK else "syn")
        words += [name for name in ("fin", "rst", "psh", "urg", "ece", "cwr") if flags & FLAGS[name] & ~ACK]
        if not flags & (ACK | SYN):
            words.append("noack")
        if spec.text:
            words.append(f"text={spec.text}")
        elif spec.payload and (spec.payload != PAYLOAD or flags & (SYN | FIN | RST)):
            words.append(f"data={spec.payload}")
        if spec.seq != _default_seq(mine, flags) % WRAP:
            words.append(f"seq={(spec.seq - (mine.isn or 0)) % WRAP}")
        if flags & ACK and spec.ack != peers.next % WRAP:
            words.append(f"ack={(spec.ack - (peers.isn or 0)) % WRAP}")
        elif is_pure_ack(spec) and not spec.sack:
            words.append("ack")
        if spec.window != WINDOW:
            words.append(f"win={spec.window}")
        if spec.sack:
            words.append("sack")
        if spec.mss:
            words.append(f"mss={spec.mss}")
        if spec.options != implied_options(spec):
            words.append(f"options={spec.options}")
        plain = not flags & (SYN | FIN | RST) and not any(word.startswith(("data", "text")) for word in words)
        says_ack = any(word.startswith(("ack", "sack", "win")) for word in words)
        if plain and spec.payload and says_ack and not flags & PSH:
            words.insert(0, "data")
        if plain and not spec.payload and (not says_ack or flags & PSH):
            words.insert(0, "data=0")
        return words

    # Sequence numbers.

    def _pair(self, ends: Ends) -> tuple[Side, Side]:
        """The sides of the sender and of the receiver."""
        both = self._sides.get(ends) or self._sides.get(ends.reverse)
        if both is None:
            both = self._sides[ends] = Sides(ends)
        first, second = both.sides
        return (first, second) if both.ends == ends else (second, first)

    def _meet(self, spec: PacketSpec, ends: Ends) -> None:
        """Learn the first sequence number of each side from the first packet that shows it."""
        mine, peers = self._pair(ends)
        if mine.isn is None:
            mine.isn = (spec.seq - (not spec.flags & SYN)) % WRAP
            mine.next = mine.isn + 1
        if peers.isn is None and spec.flags & ACK:
            peers.isn = (spec.ack - 1) % WRAP
            peers.next = spec.ack

    def _advance(self, spec: PacketSpec, ends: Ends) -> None:
        # As for its sender's state (see `shaper.wire.segment`), a reset says nothing about what follows.
        if spec.kind != "tcp" or spec.flags & RST:
            return
        mine, _ = self._pair(ends)
        end = end_of(spec)
        if spec.flags & SYN or 0 < (end - mine.next) % WRAP < WRAP // 2:
            mine.next = end


def _default_seq(side: Side, flags: int) -> int:
    return side.isn or 0 if flags & SYN else side.next


def _values(mention: Mention, line: int) -> dict[str, int]:
    """The words of a mention with their numbers; -1 for a word without one."""
    values: dict[str, int] = {}
    for word in mention.words:
        name, equals, value = word.partition("=")
        if name == "text" and value:
            continue
        if equals and (name not in NUMBERS or not value.isdigit()):
            raise StoryError(
                f"line {line}: '{mention}': '{word}' is not WORD=N; words with a number are {', '.join(NUMBERS)}"
            )
        if not equals and name not in PLAIN:
            raise StoryError(f"line {line}: '{mention}': there is no word '{word}'; there are {', '.join(PLAIN)}")
        values[name] = int(value) if equals else -1
    return values


def _ends(source: str, destination: str) -> Ends:
    """The ends of a flow, as in `flow 1  192.0.2.1:40001 > 192.0.2.2:80`."""
    try:
        return Ends(*parse_end(source), *parse_end(destination))
    except ValueError as error:
        raise StoryError(str(error)) from None
