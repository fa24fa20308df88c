"""What each stage has done, as its counts say."""

from __future__ import annotations

from shaper import Answer, Hold, Packet, Policy, Send, Wake, ms
from shaper.core.core import Core
from shaper.spec.load import load_pipeline
from tests.cores import run, udp


def test_a_stage_counts_what_it_held_and_made() -> None:
    core = Core(load_pipeline(["delay:10ms", "duplicate:100%", "delay:20ms", "loss:packets=1"]))
    run(core, udp(1), udp(2))
    uses = {name: (use.held, use.injected, use.dropped, use.touched) for name, use in core.stages.items()}
    assert uses == {
        "delay": (2, 0, 0, True),
        "duplicate": (0, 2, 0, True),
        "delay#2": (4, 0, 0, True),
        "loss": (0, 0, 1, True),
    }


def test_a_packet_that_is_held_and_then_delayed_by_the_same_policy_counts_once() -> None:
    class Both(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            self.kept = packet
            return [Hold(packet), Wake(now + 10 * ms)]

        def on_wake(self, now: int) -> Answer:
            return Send(self.kept, at=now + 5 * ms)

    core = Core([Both()])
    run(core, udp(1))
    assert core.stages["test_stages"].held == 1
