"""The figure: blocked calls and held packets along time, one panel per condition.

The client's lanes are above, the server's below, the shaper between them. A packet leaves
its sender's side, is held for the length of its bar, and goes on to the other side; a
blocked call is a bar in its task's lane. Colours are those of Okabe and Ito, which colour-blind readers can tell
apart (https://jfly.uni-koeln.de/color/); an SVG turns dark where its viewer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["client", "server"]
Kind = Literal["handshake", "ack", "data", "end", "other"]

COLOURS: dict[Kind, str] = {
    "handshake": "#0072B2", "ack": "#56B4E9", "data": "#E69F00", "end": "#CC79A7", "other": "#009E73",
}  # fmt: skip
NAMES: dict[Kind, str] = {
    "handshake": "SYN, SYN-ACK", "ack": "ACK", "data": "data", "end": "FIN, RST", "other": "other packet",
}  # fmt: skip
HIDDEN = "#D55E00"


@dataclass(frozen=True)
class Theme:
    """What differs between light and dark; the names are those of the roles that colours play."""

    ink: str
    muted: str
    paper: str
    lane: str
    blocked: str


LIGHT = Theme(ink="#1f2328", muted="#6e7781", paper="#fffffe", lane="#eef1f4", blocked="#c3c9d0")
DARK = Theme(ink="#e6edf3", muted="#9198a1", paper="#0d1117", lane="#1c2128", blocked="#484f58")


@dataclass(frozen=True)
class Bar:
    """A blocked call, in the lane of this name; times in ms since the figure's origin."""

    lane: str
    start: float
    end: float
    label: str
    hidden: bool = False


@dataclass(frozen=True)
class Arrow:
    """A packet: sent by one side, held, and delivered to the other unless it was dropped."""

    sender: Side
    sent: float
    delivered: float
    label: str
    kind: Kind
    dropped: bool = False
    steps: tuple[float, ...] = ()  # where one policy's hold ends and the next one's begins


@dataclass(frozen=True)
class Panel:
    """One condition, or one traced program.

    Attributes:
        lanes: the names of those on the client's side and on the server's; with none there
            and no packets, nothing is between them.
    """

    title: str
    bars: Sequence[Bar]
    arrows: Sequence[Arrow]
    note: str = ""
    lanes: tuple[Sequence[str], Sequence[str]] = (("client",), ("server",))
