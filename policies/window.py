"""window: the advertised receive window is lowered."""

from shaper import Flow, Packet, Policy, Send, Size, Time, tcp_options

WINDOW_SCALE = 3
RESETS = ("rst",)


class Window(Policy):
    """The receive window that segments advertise is lowered to at most `size`, which may be 0.

    The receiver of these segments may then send no more than that, as to an application
    that doesn't read. While a window is zero, the other end probes it (RFC 9293, section
    3.8.6.1); once `duration` is over, the answer to its next probe opens the window.

    The window scale (RFC 7323) is learned from the flow's SYN. The field counts units of
    2^scale bytes, so `size` is rounded down to whole units. A window that shall not be zero
    stays at least one unit: the summary counts these segments as `rounded_up`. If the SYN
    wasn't seen, because the flow is older or `only=` leaves it out, the field is taken as
    unscaled, and the summary counts `scale_unknown`.

    # window size=1000
    +0     < k:ack=101 d:data=6,reply
    +0     > k:win=1000 d:win=1000
    """

    shorthand = "size"
    can_hold = False

    size: Size = 4096
    """The largest window advertised, in bytes."""
    after: Time = 0
    """When it begins, counted from the flow's first packet."""
    duration: Time = 0
    """How long it lasts; 0: forever."""

    def start(self) -> None:
        self._came: int | None = None  # when the first packet came
        self._scales: dict[Flow, int] = {}

    def on_packet(self, packet: Packet, now: int) -> Send | None:
        tcp = packet.tcp
        if self._came is None:
            self._came = now
        begin = self._came + self.after
        if tcp is None or packet.kind in RESETS or packet.truncated:
            return None
        if packet.kind in ("syn", "synack"):
            # A SYN's own window is never scaled (RFC 7323, section 2.2).
            self._learn_scale(packet)
            known, scale = True, 0
        else:
            known, scale = packet.flow in self._scales, self._scales.get(packet.flow, 0)
        is_over = self.duration and now >= begin + self.duration
        if now < begin or is_over or tcp.window << scale <= self.size:
            return None
        if not known:
            self.tally("scale_unknown")
        window = self.size >> scale
        if self.size and not window:
            # A window of zero would stop the other end, and nobody asked for that.
            window = 1
            self.tally("rounded_up")
        return Send(packet.with_tcp(window=window)) if window < tcp.window else None

    def _learn_scale(self, packet: Packet) -> None:
        where = tcp_options(packet).get(WINDOW_SCALE)
        # 14 is the most that counts (RFC 7323, section 2.3).
        scale = min(packet.raw[where.start], 14) if where is not None and where.stop > where.start else 0
        self._scales[packet.flow] = scale
