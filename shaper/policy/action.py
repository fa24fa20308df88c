"""The four actions: what a policy may answer about a packet or about time."""

from shaper.wire.packet import Packet


class Send:
    """The packet goes on, now or at a planned time.

    A second Send of the same packet in one answer sends a duplicate.

    Args:
        packet: the packet as it came, a rewritten one, or a new one.
        at: when, in ns on the policy's clock; a past time, or None, means now.
    """

    __slots__ = ("at", "packet")

    def __init__(self, packet: Packet, at: int | None = None) -> None:
        self.packet = packet
        self.at = at

    def __repr__(self) -> str:
        return f"Send({self.packet!r}, at={self.at})"


class Drop:
    """The packet goes no further."""

    __slots__ = ("packet",)

    def __init__(self, packet: Packet) -> None:
        self.packet = packet

    def __repr__(self) -> str:
        return f"Drop({self.packet!r})"


class Hold:
    """The packet waits here until the policy sends or drops it."""

    __slots__ = ("packet",)

    def __init__(self, packet: Packet) -> None:
        self.packet = packet

    def __repr__(self) -> str:
        return f"Hold({self.packet!r})"


class Wake:
    """Call `on_wake` at a time (ns); each object has one pending Wake, and a later one replaces it."""

    __slots__ = ("at",)

    def __init__(self, at: int) -> None:
        self.at = at

    def __repr__(self) -> str:
        return f"Wake(at={self.at})"


Action = Send | Drop | Hold | Wake
