"""A run of a workload as a panel of the figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from shaper.probe.compare.comparison import Comparison
from shaper.probe.ends.run import ProbeRun
from shaper.probe.explain.blockings import blockings
from shaper.probe.explain.milestones import milestones
from shaper.report.arrows import arrows
from shaper.report.blocking import Blocking, call_name
from shaper.report.figure.model import Bar, Panel
from shaper.units import ms


def panel(
    title: str, run: ProbeRun, waited: Collection[Blocking], *, hidden: Collection[Blocking] = (), note: str = ""
) -> Panel:
    """The blockings and packets of a run; times are ms since the client's first call.

    Args:
        waited: the blockings to draw.
        hidden: those of them that netem hides.
        note: stands beside the title.
    """

    def at(time: int) -> float:
        return (time - run.began) / ms

    bars = [
        Bar(
            "server" if blocking.role == "server" else "client",
            max(0.0, at(blocking.start)),
            at(blocking.end),
            f"{call_name(blocking)} {(blocking.duration - blocking.before_client) / ms:.1f} ms",
            hidden=blocking in hidden,
        )
        for blocking in waited
    ]
    return Panel(title, bars, arrows(run.records, run.began), note)


def panels(comparison: Comparison) -> list[Panel]:
    """A panel for each condition of a comparison: the run whose client took the median time."""
    drawn = []
    hidden = {(row.role, row.syscall, row.nth) for row in comparison.rows if row.hidden}
    for column in comparison.columns:
        run = sorted(column.runs, key=lambda run: milestones(run).closed or 0)[(len(column.runs) - 1) // 2]
        found, marked = blockings(run, threshold=0), []
        counts: Counter[tuple[str, str]] = Counter()
        for blocking in found:
            counts[blocking.role, blocking.syscall] += 1
            if (blocking.role, blocking.syscall, counts[blocking.role, blocking.syscall]) in hidden:
                marked.append(blocking)
        waited = [blocking for blocking in found if blocking.duration - blocking.before_client >= comparison.threshold]
        note = str(column.condition) if run.records or column.condition.netem else ""
        drawn.append(panel(column.condition.name, run, waited, hidden=marked, note=note))
    return drawn
