"""handshake: each step of the TCP handshake is delayed by a time of its own."""

from collections.abc import Collection

from shaper import Duration, Packet, Policy, Send, ms


class Handshake(Policy):
    """SYN, SYN-ACK and the handshake's last ACK are delayed, each by a time of its own.

    Later packets of the same flow wait for a step that is held, so that data doesn't complete
    the handshake in its place; otherwise they go on at once. A late SYN-ACK delays the
    client's `connect`, a late last ACK the server's `accept`.

    # handshake syn=10ms synack=20ms ack=30ms
    +0     < s:syn
    +.010  > s
    +0     < sa:synack,reply
    +.020  > sa
    +0     < k:ack d:data=6
    +.030  > k d
    """

    needs = "headers"

    syn: Duration = 50 * ms
    """How long a SYN is held."""
    synack: Duration = 50 * ms
    """How long a SYN-ACK is held."""
    ack: Duration = 50 * ms
    """How long the ACK that completes the handshake is held."""

    def start(self) -> None:
        self._until = 0
        self.on_change(())

    def on_change(self, changed: Collection[str]) -> None:
        self._times = {"syn": self.syn, "synack": self.synack, "handshake-ack": self.ack}

    def on_packet(self, packet: Packet, now: int) -> Send | None:
        self._until = max(self._until, now + self._times.get(packet.kind, 0))
        return Send(packet, at=self._until) if self._until > now else None
