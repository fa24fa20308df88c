"""mss: the maximum segment size that both ends announce is lowered."""

from shaper import Count, Packet, Policy, Send, tcp_options

MSS = 2


class MSSClamp(Policy):
    """The maximum segment size in SYN and SYN-ACK is lowered to `size`, so that both ends send smaller segments.

    As routers at a tunnel do (iptables' TCPMSS --set-mss). A SYN that announces no size stays
    as it is; its sender's peer then uses 536 bytes (RFC 9293, section 3.7.1).

    # mss size=536
    +0     < s:syn,mss=1460
    +0     > s:mss=536
    +.001  < sa:synack,reply,mss=400
    +0     > sa
    """

    shorthand = "size"
    can_hold = False

    size: Count = 536
    """The largest segment size that an end may announce, in bytes of payload; 0: sizes stay as announced, because
    an announced 0 would mean 536. Linux takes less than 48 for 48 (sysctl tcp_min_snd_mss)."""

    def on_packet(self, packet: Packet, now: int) -> Send | None:
        if not self.size or packet.kind not in ("syn", "synack") or packet.truncated:
            return None
        where = tcp_options(packet).get(MSS)
        if where is None or where.stop - where.start != 2:
            return None
        if int.from_bytes(packet.raw[where]) <= self.size:
            return None
        return Send(packet.with_tcp(options={MSS: self.size.to_bytes(2)}))
