"""The figure: blocked calls and held packets along time, one panel per condition.

The client's lanes are at the top, the server's at the bottom, the shaper is between them. A
packet leaves its sender's side, is held for the length of its bar, and goes on to the
other side. A blocked call is a bar in its task's lane. The colours are those of Okabe and
Ito, which colour-blind readers can tell apart (https://jfly.uni-koeln.de/color/). An SVG
turns dark where its viewer is dark.
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
    """The colours that differ between light and dark, named by what they are for."""

    ink: str
    muted: str
    paper: str
    lane: str
    blocked: str


LIGHT = Theme(ink="#1f2328", muted="#6e7781", paper="#fffffe", lane="#eef1f4", blocked="#c3c9d0")
DARK = Theme(ink="#e6edf3", muted="#9198a1", paper="#0d1117", lane="#1c2128", blocked="#484f58")


@dataclass(frozen=True)
class Bar:
    """A blocked call, in the lane of this name; times in ms since the figure's origin.

    Attributes:
        hidden: netem hides this wait.
        kind: it is the hold of a packet of this kind, on a path; None for a blocked call.
        story: all that is known of it, a line each, for a figure that can be explored.
    """

    lane: str
    start: float
    end: float
    label: str
    hidden: bool = False
    kind: Kind | None = None
    story: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrow:
    """A packet: sent by one side, held, and delivered to the other unless it was dropped; times as for `Bar`.

    Attributes:
        again: it is a retransmission.
        steps: where one policy's hold ends and the next one's begins.
        story: as for `Bar`.
    """

    sender: Side
    sent: float
    delivered: float
    label: str
    kind: Kind
    dropped: bool = False
    again: bool = False
    steps: tuple[float, ...] = ()
    story: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One condition, or one traced program.

    Attributes:
        note: stands at the right of the title.
        lanes: the names of the lanes on the client's side and on the server's. If the server's side has none and
            there are no packets, there is no space for the shaper.
        path: what the packets pass between the two sides.
    """

    title: str
    bars: Sequence[Bar]
    arrows: Sequence[Arrow]
    note: str = ""
    lanes: tuple[Sequence[str], Sequence[str]] = (("client",), ("server",))
    path: str = "shaper"

    @property
    def is_empty(self) -> bool:
        """No call waited, and no packet was seen."""
        return not self.bars and not self.arrows
