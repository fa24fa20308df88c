"""A running shaper as a client sees it, without one: it answers from what it holds, and moves on when it is told to."""

from collections.abc import Mapping
from typing import Any

from shaper.errors import ShaperError, UsageError
from shaper.policy.options import options_of
from shaper.spec.load import find, load, split_spec

STARTED = 1_790_000_000
"""Seconds since 1970; 2026-09-21T14:13:20Z."""


class FakeShaper:
    """A shaper named `web` with `delay:20ms,jitter=5ms` and `loss:1%`, and traffic of some connections.

    Attributes:
        seconds: since its start; also the clock of the view.
        asked: what it was asked to do, in order.
        gone: nobody answers any more.
    """

    def __init__(self, specs: tuple[str, ...] = ("delay:20ms,jitter=5ms", "loss:1%"), connections: int = 6) -> None:
        self.seconds = 134.0
        self.asked: list[tuple[Any, ...]] = []
        self.gone = False
        self.state = "shaping"
        self.bypassed = 0
        self.problems: list[str] = []
        self.pid = 4711
        self._connections = connections
        self.stages = [self._stage(spec, number) for number, spec in enumerate(specs)]

    def _stage(self, spec: str, number: int) -> dict[str, Any]:
        policy = load(spec)
        options = {name: option.format(getattr(policy, name)) for name, option in options_of(type(policy)).items()}
        names = [stage["name"] for stage in getattr(self, "stages", [])]
        name = split_spec(spec)[0]
        counters = {"overlimits": 3} if name == "loss" else {}
        return {
            "name": name if name not in names else f"{name}#2",
            "spec": spec,
            "options": options,
            "held": 0,
            "dropped": 0,
            "injected": 0,
            "counters": counters,
        }

    def clock(self) -> float:
        return self.seconds

    def today(self) -> float:
        return STARTED + self.seconds

    def _answer(self) -> None:
        if self.gone:
            raise ShaperError("shaper 'web' has ended")

    def status(self) -> dict[str, Any]:
        self._answer()
        taken = int(self.seconds * 12_345)
        return {
            "name": "web",
            "version": "0.1.0",
            "pid": self.pid,
            "state": self.state,
            "started": "2026-09-21T14:13:20Z",
            "shapes": "input packets of lo, tcp, port 443",
            "queues": [3],
            "policies": [stage["spec"] for stage in self.stages],
            "scenario": "",
            "phase": 0,
            "held": int(247 + 40 * (self.seconds % 3)),
            "taken": taken,
            "sent": int(taken * 0.99),
            "dropped": int(taken * 0.01),
            "injected": 0,
            "bypassed": self.bypassed,
            "late_us": {"p50": 14.2, "p99": 134.4 + 20 * (self.seconds % 2), "max": 512.0},
            "summary": {"problems": self.problems},
        }

    def pipeline(self) -> list[dict[str, Any]]:
        self._answer()
        taken = int(self.seconds * 12_345)
        counts = ({"held": taken}, {"dropped": int(taken * 0.01)})
        return [{**stage, **counts[number % 2]} for number, stage in enumerate(self.stages)]

    def flows(self, limit: int = 100) -> list[dict[str, Any]]:
        self._answer()
        found = []
        for number in range(self._connections):
            for direction in ("original", "reply"):
                ends = [f"10.0.0.{number + 1}:{50_000 + number}", "192.0.2.1:443"]
                packets = int(self.seconds * 100 * (self._connections - number))
                found.append(
                    {
                        "flow": " > ".join(ends if direction == "original" else reversed(ends)) + " tcp",
                        "direction": direction,
                        "packets": packets if direction == "original" else 2 * packets,
                        "bytes": packets * (60 if direction == "original" else 2000),
                        "held": (number + 1) * (2 if direction == "reply" else 1),
                        "dropped": packets // 100,
                        "classes": {"pure-ack": packets - 2, "syn": 1, "fin": 1}
                        if direction == "original"
                        else {"data": 2 * packets - 2, "synack": 1, "fin": 1},
                        "repeats": 0 if direction == "original" else packets // 90,
                        "hold_ms": 20.1 + number / 10,
                        "worker": 0,
                    }
                )
        return found[:limit]

    def set(self, stage: str, options: Mapping[str, str]) -> None:
        self._answer()
        self.asked.append(("set", stage, dict(options)))
        (found,) = (one for one in self.stages if one["name"] == stage)
        known = options_of(find(stage.partition("#")[0]))
        for name, value in options.items():
            try:
                known[name].parse(value)
            except ValueError as error:
                raise UsageError(f"{stage}: option {name}: {error}") from None
            found["options"][name] = value

    def pause(self) -> None:
        self._ask("pause", "paused")

    def resume(self) -> None:
        self._ask("resume", "shaping")

    def release(self) -> None:
        self._ask("release", self.state)

    def _ask(self, what: str, state: str) -> None:
        self._answer()
        self.asked.append((what,))
        self.state = state
