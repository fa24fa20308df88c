"""Drops the first TCP segment with PSH set, looking at scapy's layers of every packet."""

from shaper import Drop, Policy


class DropPshScapy(Policy):
    def start(self):
        self._done = False

    def on_packet(self, packet, now):
        layers = packet.scapy()
        if not self._done and layers.haslayer("TCP") and layers["TCP"].flags.P:
            self._done = True
            return Drop(packet)
        return None
