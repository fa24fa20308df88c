"""A run of a workload as a panel of the figure."""

from __future__ import annotations

from collections.abc import Collection

from shaper.probe.ends.run import ProbeRun
from shaper.report.arrows import arrows
from shaper.report.blocking import Blocking, call_name
from shaper.report.figure.model import Bar, Panel
from shaper.report.story import call_story
from shaper.units import ms


def panel(
    title: str,
    run: ProbeRun,
    waited: Collection[Blocking],
    *,
    hidden: Collection[Blocking] = (),
    note: str = "",
    path: str = "shaper",
) -> Panel:
    """The blockings and packets of a run; times are ms since the client's first call.

    Args:
        waited: the blockings to draw.
        hidden: those of them that netem hides.
        note: stands beside the title.
        path: what the packets pass.
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
            story=call_story(blocking, run.began, hidden=blocking in hidden),
        )
        for blocking in waited
    ]
    return Panel(title, bars, arrows(run.records, run.began, waited), note, path=path)
