"""The figure of a comparison."""

from __future__ import annotations

from collections import Counter

from shaper.experiment.compare.comparison import Comparison
from shaper.probe.explain.blockings import blockings
from shaper.probe.explain.milestones import milestones
from shaper.probe.panel import panel
from shaper.report.figure.model import Panel


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
        path = "netem" if column.condition.netem and not column.condition.note else "shaper"
        drawn.append(panel(column.condition.name, run, waited, hidden=marked, note=note, path=path))
    return drawn
