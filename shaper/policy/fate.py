"""Fates: what becomes of single packets, as text: "tcp/8080 #1 reply data 2: hold 40ms"."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple

from shaper.units import Unit, format_duration, parse_duration, read_file
from shaper.wire.naming import PacketName

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
    def parse(cls, text: str) -> Fate:
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
