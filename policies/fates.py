"""fates: single packets, each named, are dropped, held, sent twice or overtaken."""

import re
from typing import Annotated, Literal, NamedTuple

from shaper import (
    Action,
    Drop,
    Duration,
    Flow,
    Hold,
    Namer,
    Packet,
    PacketName,
    Policy,
    Send,
    Unit,
    Wake,
    format_duration,
    ms,
    parse_duration,
    read_file,
)

INLINE = re.compile(r"#\d.*:", re.DOTALL)


class Fate(NamedTuple):
    """What becomes of one packet.

    Attributes:
        packet: its name.
        what: "drop"; "hold", later ones may overtake it; "twice"; "behind", some later ones overtake it.
        amount: how long it is held, in ns; or how many packets overtake it; else 0.
    """

    packet: PacketName
    what: Literal["drop", "hold", "twice", "behind"]
    amount: int = 0

    def __str__(self) -> str:
        amount = {"hold": f" {format_duration(self.amount)}", "behind": f" {self.amount}"}.get(self.what, "")
        return f"{self.packet}: {self.what}{amount}"

    @classmethod
    def parse(cls, text: str) -> "Fate":
        """A fate as `str` writes it.

        Raises:
            ValueError: the text is no fate; the message says which word is wrong.
        """
        name, colon, said = text.rpartition(":")
        if not colon:
            raise ValueError(f"'{text}' is not PACKET: FATE")
        packet = PacketName.parse(name)
        match said.split():
            case ["drop"]:
                return cls(packet, "drop")
            case ["twice"]:
                return cls(packet, "twice")
            case ["hold", time]:
                return cls(packet, "hold", parse_duration(time))
            case ["behind", number] if re.fullmatch("[1-9][0-9]{0,8}", number):
                return cls(packet, "behind", int(number))
        raise ValueError(f"'{said.strip()}' is no fate (drop, hold TIME, twice, behind N)")


def parse_fates(text: str) -> tuple[Fate, ...]:
    """The fates in a text, separated by `;` or in lines of their own; or in a file.

    Raises:
        ValueError: neither fates nor a file of them; the message names the line, or which of the fates it is.
    """
    if text.strip() in ("", "none"):
        return ()
    if INLINE.search(text):
        return _read(text, "line {}" if "\n" in text.strip() else "fate {}")
    try:
        content = read_file(text)
    except ValueError as error:
        raise ValueError(f"neither fates, such as '#1 reply data 2: drop', nor a file of them: {error}") from None
    fates = _read(content, f"{text}:{{}}")
    if not fates:
        raise ValueError(f"{text} has no fates")
    return fates


def _read(text: str, place: str) -> tuple[Fate, ...]:
    """The fates in a text; `place` says where one is, its number filled in."""
    fates: dict[PacketName, Fate] = {}
    is_inline = place.startswith("fate")
    for number, line in enumerate(text.split(";") if is_inline else text.split("\n"), 1):
        # A comment; a fate without a service begins with # and a digit.
        parts = [] if re.match(r"\s*#(?!\d)", line) else line.split(";")
        for part in filter(str.strip, parts):
            try:
                fate = Fate.parse(part.strip())
                if fate.packet in fates:
                    raise ValueError(f"{fate.packet} has a fate already")
            except ValueError as error:
                raise ValueError(f"{place.format(number)}: {error}") from None
            fates[fate.packet] = fate
    return tuple(fates.values())


def format_fates(fates: tuple[Fate, ...]) -> str:
    """Fates as `parse_fates` reads them."""
    return "; ".join(map(str, fates)) or "none"


Schedule = Annotated[tuple[Fate, ...], Unit("fates or FILE", parse_fates, format_fates)]


class Fates(Policy):
    """Single packets, each named, are dropped, held, sent twice or overtaken by later ones.

    A name, such as `tcp/8080 #1 reply data 2`, stands for the same packet in every run of the same
    programs, live and in replay, whatever the client's port (docs/timelines.md). `shaper replay
    --timeline` prints the names of the packets of any run. What can become of a packet: `drop`;
    `hold 40ms`, while later ones overtake it; `twice`; `behind 2`, so that the next two packets of
    its flow overtake it. All other packets pass.

    Fates are separated by `;`, or lie in a file, one in each line; a line that begins with `#`
    and no number is a comment. Let this policy be the first: packets are counted as they reach it.

    # fates "tcp/80 #1 original data 1: behind 1; #1 original data 3: drop"
    +0     < a b c d
    +0     x c
    +0     > b a d
    """

    shorthand = "schedule"

    scope: Literal["queue"] = "queue"
    """One object for all packets, since names count connections."""
    schedule: Schedule = (Fate(PacketName("", 1, "original", "data", 1), "hold", 40 * ms),)
    """What becomes of which packets."""
    timeout: Duration = 50 * ms
    """The longest that a packet waits for others to overtake it."""

    def start(self) -> None:
        self._namer = Namer()
        self._fates = {fate.packet: fate for fate in self.schedule}
        # Packets that fall behind: how many still overtake each, its latest time, its flow.
        self._behind: list[tuple[int, int, Flow, Packet]] = []
        self.tally("met", 0)
        self.tally("not met", len(self._fates))

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if not packet.id:
            return None  # another policy made it
        name, short = self._namer.both(packet)
        fate = self._fates.get(name) or self._fates.get(short)
        if fate is None:
            return [Send(packet), *self._overtaken(packet.flow, now)] if self._behind else None
        self.tally("met")
        self.tally("not met", -1)
        if fate.what == "drop":
            return [Drop(packet)]
        if fate.what == "hold":
            return [Send(packet, at=now + fate.amount)]
        if fate.what == "behind" and self.timeout:
            self._behind.append((fate.amount, now + self.timeout, packet.flow, packet))
            return [Hold(packet), *self._overtaken(None, now)]
        copies = 1 + (fate.what == "twice" and not packet.truncated)
        return [*[Send(packet)] * copies, *self._overtaken(packet.flow, now)]

    def on_wake(self, now: int) -> list[Action]:
        return self._overtaken(None, now)

    def _overtaken(self, by: Flow | None, now: int) -> list[Action]:
        """Send those that enough others have overtaken or whose time is over, and wake for the next one.

        Args:
            by: the flow of the packet that goes on, if one does.
            now: the time, in ns.
        """
        waiting = [(left - (flow == by), latest, flow, packet) for left, latest, flow, packet in self._behind]
        self._behind = [each for each in waiting if each[0] and each[1] > now]
        actions: list[Action] = [Send(each[3]) for each in waiting if each not in self._behind]
        if self._behind:
            actions.append(Wake(min(latest for _, latest, _, _ in self._behind)))
        return actions
