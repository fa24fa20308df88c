"""The flow of each fragment: only the first fragment of a datagram has ports."""

from __future__ import annotations

from collections import OrderedDict

from shaper.units import s
from shaper.wire.flow import Flow
from shaper.wire.header import datagram_key, flow_key, fragment_offset
from shaper.wire.packet import Packet

REASSEMBLY = 60 * s
"""A first fragment is forgotten after this time; by then receivers give up, too (RFC 8200, section 4.5)."""
MOST = 1 << 16
"""The most datagrams remembered; IPv4 has no more identifications between two addresses."""
LOOKS = 4
"""The most old datagrams forgotten for each new one, so that it never takes long."""


class Datagrams:
    """Remembers the flows of first fragments, for the fragments that come after them."""

    def __init__(self) -> None:
        # In the order in which the first fragments came: when (ns), and the flow, twice.
        self._flows: OrderedDict[bytes, tuple[int, bytes, Flow]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flows)

    def flow_of(self, packet: Packet, now: int) -> bytes:
        """The flow key of a fragment: its datagram's, and without ports if its first fragment wasn't seen before it.

        Args:
            packet: a fragment. A later one joins the flow of the first.
            now: the time, in ns.
        """
        raw, ip = packet.raw, packet.ip
        name = datagram_key(raw, ip)
        if fragment_offset(raw, ip):
            known = self._flows.get(name)
            if known is not None and known[0] > now - REASSEMBLY:
                _, key, flow = known
                packet.join(flow, key[0])
                return key
            return flow_key(raw)
        key = flow_key(raw)
        # The identification may be an earlier datagram's.
        self._flows.pop(name, None)
        self._flows[name] = (now, key, packet.flow)
        self._forget_some(now)
        return key

    def _forget_some(self, now: int) -> None:
        for _ in range(LOOKS):
            oldest = next(iter(self._flows))
            if self._flows[oldest][0] > now - REASSEMBLY and len(self._flows) <= MOST:
                return
            del self._flows[oldest]
