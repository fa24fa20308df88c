"""udp: datagrams and their answers; like a resolver, the client asks again if no answer comes."""

import socket

from shaper.probe.ends.calls import IN
from shaper.probe.ends.end import End
from shaper.probe.ends.workload import Workload
from shaper.units import Duration, Size, s


class Udp(Workload):
    """Each datagram begins with its number; the server ends after the last number."""

    rounds: int = 3
    """How many answers the client wants."""
    size: Size = 100
    """Bytes of each datagram."""
    patience: Duration = 1 * s
    """How long the client waits before it asks again."""
    tries: int = 3
    """How often the client asks for one answer."""

    def server(self, end: End) -> None:
        listening = end.listen(socket.SOCK_DGRAM)
        last = 0
        while last < self.rounds:
            question, address = listening.recvfrom(65535)
            listening.reply(question, address)
            last = question[0]
        listening.close()

    def client(self, end: End) -> None:
        asking = end.open(socket.SOCK_DGRAM)
        asking.connect(end.address)
        for number in range(1, self.rounds + 1):
            for _ in range(self.tries):
                asking.send(bytes([number]) * self.size)
                if end.poll([(asking, IN)], self.patience / s):
                    asking.recv(65535)
                    break
        asking.close()
