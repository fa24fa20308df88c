"""What is measured only while somebody looks: packets by class, holds and latenesses, flows, single packets.

It is attached to an engine when somebody first looks, so nobody else pays for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any

from shaper.core.verdict import Verdict
from shaper.units import ms, s, us
from shaper.wire.flow import Flow, format_end
from shaper.wire.packet import Packet

BOUNDS = tuple(each for power in range(1, 8) for digit in (1, 2, 5) if (each := digit * 10**power * us) <= 10 * s)
"""The upper bounds (ns) of the buckets of holds and latenesses."""
MAX_FLOWS = 2_000
"""When there are more, those that hold nothing are forgotten; while all of these hold something, others aren't seen."""


def named(flow: Flow) -> str:
    """A flow for people: "10.0.0.1:5000 > 10.0.0.2:80 tcp"."""
    ends = format_end(flow.source, flow.sport), format_end(flow.destination, flow.dport)
    return f"{ends[0]} > {ends[1]} {flow.protocol}"


def described(verdict: Verdict) -> dict[str, Any]:
    """What became of a packet, as the journal has it."""
    root = verdict.packet.root
    tcp = root.tcp
    return {
        "id": root.id,
        "flow": named(root.flow),
        "direction": root.direction,
        "class": root.kind,
        "flags": tcp.flag_names if tcp else "",
        "seq": tcp.seq if tcp else None,
        "ack": tcp.ack if tcp else None,
        "len": root.length,
        "arrived_ns": root.arrived,
        "fate": verdict.fate,
        "planned_ns": verdict.planned,
        "held": [{"policy": policy, "ns": ns} for policy, ns in root.hold_times],
        "by": root.by,
    }


class FlowMeter:
    """What was seen of one flow; see `shaper.live.state.Flow`."""

    __slots__ = ("bytes", "classes", "direction", "dropped", "hold", "left", "name", "next_seq", "packets", "repeats")

    def __init__(self, packet: Packet) -> None:
        self.name = packet.flow
        self.direction = packet.direction
        self.packets = self.bytes = self.dropped = self.left = self.hold = self.repeats = 0
        self.classes: Counter[str] = Counter()
        self.next_seq: int | None = None

    @property
    def held(self) -> int:
        """Packets that wait now."""
        return self.packets - self.left

    def to_json(self) -> dict[str, Any]:
        """As `shaper.live.state.Flow` has it, without the worker."""
        sent = self.left - self.dropped
        return {
            "flow": named(self.name),
            "direction": self.direction,
            "packets": self.packets,
            "bytes": self.bytes,
            "held": self.held,
            "dropped": self.dropped,
            "classes": dict(self.classes),
            "repeats": self.repeats,
            "hold_ms": self.hold / sent / ms if sent else 0.0,
        }


class Meter:
    """Counts from now on.

    Attributes:
        packets: by fate, policy, direction and class.
        holds, latenesses: how many in each bucket of BOUNDS, and in the last one those above.
        hold, lateness: their sums, in ns.
    """

    def __init__(self) -> None:
        self.packets: Counter[tuple[str, str, str, str]] = Counter()
        self.holds = [0] * (len(BOUNDS) + 1)
        self.latenesses = [0] * (len(BOUNDS) + 1)
        self.hold = self.lateness = 0
        self._flows: dict[object, FlowMeter] = {}
        self._unseen = 0  # packets of flows for which there was no room
        self._samples: list[Verdict] = []
        self.room = 0  # for samples, until they are taken

    def arrived(self, packets: Sequence[Packet]) -> None:
        """The core has received these packets."""
        flows = self._flows
        for packet in packets:
            key = packet.flow_state
            flow = flows.get(key)
            if flow is None:
                if len(flows) >= MAX_FLOWS and not self._forget():
                    continue
                flow = flows[key] = FlowMeter(packet)
            flow.packets += 1
            flow.bytes += packet.length
            flow.classes[packet.kind] += 1
            if packet.kind == "data" and packet.tcp is not None:
                end = packet.tcp.seq + packet.tcp.payload & 0xFFFFFFFF
                if flow.next_seq is not None and (flow.next_seq - end) % (1 << 32) < 1 << 31:
                    flow.repeats += 1
                else:
                    flow.next_seq = end

    def _forget(self) -> bool:
        """Forget flows that hold nothing; whether there is room now. Most calls only count, so no packet is late."""
        self._unseen += 1
        if self._unseen % MAX_FLOWS == 1:
            for key in [key for key, flow in self._flows.items() if not flow.held]:
                del self._flows[key]
        return len(self._flows) < MAX_FLOWS

    def left(self, verdicts: Sequence[Verdict], at: int) -> None:
        """These verdicts were carried out by `at` (ns)."""
        packets, flows, holds, latenesses = self.packets, self._flows, self.holds, self.latenesses
        if self.room:
            taken = verdicts[: self.room]
            self._samples += taken
            self.room -= len(taken)
        for verdict in verdicts:
            packet, fate = verdict.packet, verdict.fate
            packets[fate, "" if fate == "sent" else packet.root.by, packet.direction, packet.kind] += 1
            flow = None if fate == "injected" else flows.get(packet.flow_state)
            if flow is not None and flow.held:
                flow.left += 1
            if fate == "dropped":
                if flow is not None:
                    flow.dropped += 1
                continue
            hold, late = at - packet.arrived, at - verdict.planned
            holds[bisect_left(BOUNDS, hold)] += 1
            latenesses[bisect_left(BOUNDS, late)] += 1
            self.hold += hold
            self.lateness += late
            if flow is not None:
                flow.hold += hold

    def flows(self, most: int) -> list[dict[str, Any]]:
        """The flows with the most packets held, then with the most packets."""
        found = sorted(self._flows.values(), key=lambda flow: (flow.held, flow.packets), reverse=True)
        return [flow.to_json() for flow in found[:most]]

    def samples(self, room: int) -> list[dict[str, Any]]:
        """What became of the sampled packets since this was last asked; `room` limits the next sample."""
        samples, self._samples, self.room = self._samples, [], room
        return [described(verdict) for verdict in samples]

    def to_json(self) -> dict[str, Any]:
        """The counts and distributions."""
        return {
            "packets": [[*key, count] for key, count in self.packets.items()],
            "holds": self.holds,
            "latenesses": self.latenesses,
            "hold": self.hold,
            "lateness": self.lateness,
        }
