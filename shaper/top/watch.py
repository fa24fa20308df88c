"""A running shaper over time: what it said at each moment, and the rates between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

FLOWS = 100
"""How many flows are asked for: those with the most packets held."""
WINDOW = 2.0
"""Seconds over which a rate is measured."""
HISTORY = 120
"""Moments that the small pictures of the past can show."""


class Watched(Protocol):
    """What is asked of a running shaper; `shaper.control.client.Client` fulfils it. All of it may raise ShaperError."""

    def status(self) -> dict[str, Any]:
        """As GET /v1/status."""

    def pipeline(self) -> list[dict[str, Any]]:
        """As GET /v1/pipeline."""

    def flows(self, limit: int = FLOWS) -> list[dict[str, Any]]:
        """As GET /v1/flows."""

    def set(self, stage: str, options: Mapping[str, str]) -> object:
        """Change options of a stage."""

    def pause(self) -> object:
        """Let packets pass unshaped."""

    def resume(self) -> object:
        """Shape them again."""

    def release(self) -> object:
        """Let all held packets go on now."""


class Moment(NamedTuple):
    """What a running shaper said.

    Attributes:
        at: when, in seconds of a clock that never goes back.
        status: the run as a whole.
        stages: its pipeline.
        flows: those with the most packets held.
    """

    at: float
    status: Mapping[str, Any]
    stages: Sequence[Mapping[str, Any]]
    flows: Sequence[Mapping[str, Any]]

    @property
    def run(self) -> tuple[str, int]:
        """Which run this is: another one may have taken its name."""
        return self.status["started"], self.status["pid"]


class Watch:
    """The last moments of a running shaper."""

    def __init__(self) -> None:
        self._recent: deque[Moment] = deque()
        self._taken: deque[float] = deque(maxlen=HISTORY)
        self._held: deque[float] = deque(maxlen=HISTORY)
        self._late: deque[float] = deque(maxlen=HISTORY)

    def see(self, moment: Moment) -> None:
        """Add the newest moment; one of another run begins anew."""
        if self._recent and self._recent[-1].run != moment.run:
            for past in (self._recent, self._taken, self._held, self._late):
                past.clear()
        self._recent.append(moment)
        while len(self._recent) > 2 and moment.at - self._recent[1].at >= WINDOW:
            self._recent.popleft()
        late = moment.status["late_us"]
        self._held.append(moment.status["held"])
        self._late.append(late["p99"] if late else 0)
        if (rate := self.rate("taken")) is not None:
            self._taken.append(rate)

    @property
    def now(self) -> Moment | None:
        """The newest moment; None before the first one."""
        return self._recent[-1] if self._recent else None

    @property
    def past(self) -> dict[str, Sequence[float]]:
        """Figures of the moments so far: `taken` (packets a second), `held` (packets), `late` (p99, µs)."""
        return {"taken": self._taken, "held": self._held, "late": self._late}

    def rate(self, count: str) -> float | None:
        """How fast this count of the status grows, a second; None while it isn't known."""
        first, last = self._ends()
        if first is None or last is None:
            return None
        return float(last.status[count] - first.status[count]) / (last.at - first.at)

    def flow_rates(self) -> list[float | None]:
        """The packets of each flow of the newest moment, a second; None where it isn't known."""
        first, last = self._ends()
        if first is None or last is None:
            return [None] * len(self.now.flows if self.now else ())
        before = {key_of(flow): flow["packets"] for flow in first.flows}
        # A flow that was not among those before is new, unless there were more than were asked for.
        missing = 0 if len(first.flows) < FLOWS else None
        rates: list[float | None] = []
        for flow in last.flows:
            seen = before.get(key_of(flow), missing)
            rates.append(None if seen is None else (flow["packets"] - seen) / (last.at - first.at))
        return rates

    def _ends(self) -> tuple[Moment | None, Moment | None]:
        """The moments between which rates are measured."""
        if len(self._recent) < 2 or self._recent[0].at >= self._recent[-1].at:
            return None, None
        return self._recent[0], self._recent[-1]


def key_of(flow: Mapping[str, Any]) -> tuple[str, int]:
    """What tells a flow from all others."""
    return flow["flow"], flow["worker"]
