"""Drops the first TCP segment with PSH set; everything else goes on."""

from shaper import Drop, Policy
from shaper.wire.header import PSH


class DropPsh(Policy):
    needs = "headers"

    def start(self):
        self._done = False

    def on_packet(self, packet, now):
        if not self._done and packet.tcp is not None and packet.tcp.flags & PSH:
            self._done = True
            return Drop(packet)
        return None
