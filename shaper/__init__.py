"""The policy author's vocabulary: everything that a policy file imports.

from shaper import Drop, Policy

class DropThird(Policy):
    def start(self):
        self._seen = 0

    def on_packet(self, packet, now):
        self._seen += 1
        if self._seen % 3 == 0:
            return Drop(packet)
"""

from shaper.policy.action import Action, Drop, Hold, Send, Wake
from shaper.policy.base import Answer, Classes, Policy
from shaper.policy.chance import UNIFORM, Chance, Distribution, Shape
from shaper.policy.fate import Fate, Schedule
from shaper.policy.link import Link
from shaper.policy.script import Script, Stream
from shaper.policy.signal import Signal
from shaper.units import (
    Bound,
    Count,
    Duration,
    Limit,
    Numbers,
    Rate,
    Share,
    Size,
    Time,
    Unit,
    ms,
    ns,
    parse_duration,
    read_file,
    s,
    us,
)
from shaper.wire.craft import may_report, reset_receiver, reset_sender, tcp_options, too_big
from shaper.wire.flow import Flow
from shaper.wire.naming import Namer, PacketName
from shaper.wire.packet import Packet, TruncatedPacket

__all__ = [
    "UNIFORM",
    "Action",
    "Answer",
    "Bound",
    "Chance",
    "Classes",
    "Count",
    "Distribution",
    "Drop",
    "Duration",
    "Fate",
    "Flow",
    "Hold",
    "Limit",
    "Link",
    "Namer",
    "Numbers",
    "Packet",
    "PacketName",
    "Policy",
    "Rate",
    "Schedule",
    "Script",
    "Send",
    "Shape",
    "Share",
    "Signal",
    "Size",
    "Stream",
    "Time",
    "TruncatedPacket",
    "Unit",
    "Wake",
    "may_report",
    "ms",
    "ns",
    "parse_duration",
    "read_file",
    "reset_receiver",
    "reset_sender",
    "s",
    "tcp_options",
    "too_big",
    "us",
]


def discover(discover_system: bool = True) -> dict[str, object]:
    """The actions and probes of `shaper.chaos`: the Chaos Toolkit asks the package that has the distribution's name."""
    from shaper.chaos import discovered

    return discovered()
