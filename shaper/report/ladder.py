"""The figure for a terminal: a ladder of packets between client and server, and the calls that waited."""

from __future__ import annotations

from shaper.report.figure.model import Arrow, Bar, Panel

WIDTH = 80
TIME = 8
"""Columns for a time, at either side."""
MANY = 60
"""A ladder of more packets than this is no help, and is not drawn."""


def ladder(panel: Panel) -> list[str]:
    """Lines of at most 80 columns: packets by the time they were sent, calls by the time they returned.

    A packet's line has the time it was sent on its sender's side, and the time it was delivered on the other.
    """
    if not panel.arrows or len(panel.arrows) > MANY:
        return []
    lines = [(arrow.sent, _packet(arrow)) for arrow in panel.arrows]
    lines += [(bar.end, _call(bar)) for bar in panel.bars]
    return [_heading(), *(line for _, line in sorted(lines, key=lambda line: line[0]))]


def _heading() -> str:
    middle = "shaper".center(WIDTH - 2 * (TIME + 1) - 14)
    return f"{'ms':>{TIME}} client {middle} server {'ms':>{TIME}}"


def _packet(arrow: Arrow) -> str:
    """`   0.0 ├─ SYN ─────────── held 100.2 ms ───────────▶│    100.2`."""
    sent, delivered = f"{arrow.sent:.1f}", f"{arrow.delivered:.1f}"
    inner = WIDTH - 2 * TIME - 4
    held = f" held {arrow.delivered - arrow.sent:.1f} ms " if not arrow.dropped else " dropped ✕ "
    if arrow.sender == "client":
        line = f"─ {arrow.label} ".ljust((inner - len(held)) // 2, "─") + held
        tail = "".ljust(inner - 1 - len(line)) + " " if arrow.dropped else "─" * (inner - 1 - len(line)) + "▶"
        return f"{sent:>{TIME}} ├{line}{tail}│ {'' if arrow.dropped else delivered:>{TIME}}"
    line = held + f" {arrow.label} ─".rjust(inner - len(held) - (inner - len(held)) // 2, "─")
    head = " " * (inner - len(line)) if arrow.dropped else "◀" + "─" * (inner - 1 - len(line))
    return f"{'' if arrow.dropped else delivered:>{TIME}} │{head}{line}┤ {sent:>{TIME}}"


def _call(bar: Bar) -> str:
    """The call's name and duration, on the side of the end that made it."""
    inner = WIDTH - 2 * TIME - 4
    if bar.lane == "client":
        return f"{bar.end:>{TIME}.1f} ■ {bar.label}".ljust(WIDTH - TIME - 3) + f" │ {'':>{TIME}}"
    return f"{'':>{TIME}} │ " + bar.label.rjust(inner - 2) + f" ■ {bar.end:>{TIME}.1f}"
