"""What a test sees of the network that it runs in."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from shaper.core.counts import StageUse
from shaper.network import Network, Packets
from shaper.network.waits import Wait
from shaper.wire.segment import CLASSES


class Shaped:
    """The network that the test runs in.

    Args:
        network: the network.
        policies: SPECs of the test, in order.
        since: when the test began, in ns of CLOCK_MONOTONIC.
        waits: asks for the calls that have waited so far.
    """

    def __init__(
        self, network: Network, policies: tuple[str, ...], since: int, waits: Callable[[], list[Wait]]
    ) -> None:
        self._network, self._since, self._waits = network, since, waits
        self.policies = policies

    @property
    def seed(self) -> str:
        """What decides all chance."""
        return self._network.seed

    @property
    def packets(self) -> Packets:
        """The packets of this test that went on or were dropped so far."""
        return self._network.packets_since(self._since)

    @property
    def held(self) -> int:
        """How many packets are held now."""
        return self._network.held

    @property
    def fired(self) -> dict[str, bool]:
        """Whether each policy has held, dropped, changed or made a packet so far, by the name of its stage."""
        stages: dict[str, StageUse] = dict(self._network.summary.stages)
        return {name: use.touched for name, use in stages.items()}

    def change(self, stage: str, **options: Any) -> None:
        """Change options of a policy; see `Network.change`."""
        self._network.change(stage, **options)

    def replace(self, *policies: str) -> None:
        """Replace the pipeline; see `Network.replace`."""
        self._network.replace(*policies)

    def pause(self) -> None:
        """Let packets pass unshaped from now on."""
        self._network.pause()

    def resume(self) -> None:
        """Shape packets again."""
        self._network.resume()

    def release(self) -> None:
        """Send all packets on that are held."""
        self._network.release()

    def blocked(self, call: str | None = None, *, at_least: float = 0.02) -> list[Wait]:
        """The calls on sockets that have waited so far, or still wait, in this test and the programs inside.

        They are found by looking at all threads a hundred times a second, so times are exact to 10 ms.

        Args:
            call: only those of this system call, such as "connect".
            at_least: only those that waited this long, in seconds.
        """
        return [wait for wait in self._waits() if call in (None, wait.call) and wait.seconds >= at_least]

    def expect(self, **counts: int | Container[int]) -> None:
        """Check counts of packets so far: `expect(retransmissions=1, dropped=1, syn=range(1, 3))`.

        Args:
            counts: by name, the count or a range of counts. Names are `packets`, `retransmissions`, `dropped`, `held`
                and the classes, with `_` for `-`.

        Raises:
            AssertionError: one is different; the message has the packets.
            ValueError: there is no such name.
        """
        packets = self.packets
        for name, wanted in counts.items():
            found = len(_chosen(packets, name))
            if not (found == wanted if isinstance(wanted, int) else found in wanted):
                raise AssertionError(f"{name}: {found}, expected {wanted}; the packets so far:\n{packets}")


def _chosen(packets: Packets, name: str) -> Packets:
    kind = name.replace("_", "-")
    if kind in CLASSES:
        return packets.of(kind)
    known = {
        "packets": packets,
        "retransmissions": packets.retransmissions,
        "dropped": packets.dropped,
        "held": packets.held,
    }
    if name not in known:
        names = ", ".join([*known, *(each.replace("-", "_") for each in CLASSES)])
        raise ValueError(f"there is no count '{name}' of packets; there are {names}")
    return known[name]


@dataclass
class Current:
    """The test that runs in this process."""

    shaped: Shaped | None = None


current = Current()
