"""How `shaper top` says what it knows: figures, headings, rows of its tables; at most as wide as the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from shaper.report.table import printable
from shaper.top.stage import in_force
from shaper.top.watch import Watch

BARS = "▁▂▃▄▅▆▇█"
UNKNOWN = "-"


def count(number: float | None) -> str:
    """A number in at most seven characters: 12, 1,234, 123,456, 12.3 M."""
    if number is None:
        return UNKNOWN
    if number < 999_999.5:
        return f"{number:,.0f}"
    for unit in "MGT":
        number /= 1e6 if unit == "M" else 1e3
        if number < 999.95:
            break
    return f"{number:.1f} {unit}"


def per_second(rate: float | None) -> str:
    """A number of packets a second: slow ones with a digit behind the point."""
    return f"{rate:.1f}" if rate is not None and 0 < rate < 10 else count(rate)


def micros(value: float | None) -> str:
    """A time given in µs: 14 µs, 1,234 µs, 12.3 ms, 1.23 s."""
    if value is None:
        return UNKNOWN
    if value < 10_000:
        return f"{value:,.0f} µs"
    return f"{value / 1e3:,.1f} ms" if value < 1_000_000 else f"{value / 1e6:,.2f} s"


def lasting(seconds: float) -> str:
    """A time since a start, in two units: 13 s, 2 min 13 s, 4 h 5 min, 3 d 2 h."""
    whole = max(0, int(seconds))
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    first = next((index for index, (size, _) in enumerate(units) if whole >= size), len(units) - 1)
    parts = []
    for size, unit in units[first : first + 2]:
        parts.append(f"{whole // size} {unit}")
        whole %= size
    return " ".join(parts)


def bars(values: Sequence[float], width: int) -> str:
    """A small picture of the last values, the highest one a full block."""
    shown = list(values)[-width:] if width > 0 else []
    top = max(shown, default=0)
    return "".join(BARS[round(value / top * (len(BARS) - 1))] if top else BARS[0] for value in shown)


def cut(text: str, width: int) -> str:
    """The text, without what could control the terminal, cut where it is too long."""
    text = printable(text).replace("\n", " ").replace("\t", " ")
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def cut_inside(text: str, width: int) -> str:
    """The text cut in its middle, so that both ends stay: of a flow the sender, and the receiver's port."""
    text = cut(text, len(text))
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def title(status: Mapping[str, Any], state: str, uptime: float, width: int) -> str:
    """The first line: which shaper, in which state, what it shapes, for how long."""
    left = f" shaper {status['name']}  {state.upper()}  "
    if "shapes" not in status:
        return cut(left, width)
    what = status["shapes"]
    if status["scenario"]:
        what += f"; {status['scenario']}, phase {status['phase']}"
    right = f"  up {lasting(uptime)} "
    room = width - len(left) - len(right)
    return cut(f"{left}{cut(what, room):{max(0, room)}}{right}", width)


def figures(watch: Watch, width: int) -> list[Text]:
    """The three lines of figures: rates; held, dropped, bypassed; lateness. Each has its recent past as a picture."""
    moment = watch.now
    if moment is None:
        return []
    status = moment.status
    late, bypassed = status["late_us"] or {}, status["bypassed"]
    past = watch.past
    columns: tuple[tuple[tuple[str, str, Sequence[float]], ...], ...] = (
        (
            ("in", f"{per_second(watch.rate('taken'))}/s", past["taken"]),
            ("out", f"{per_second(watch.rate('sent'))}/s", ()),
            ("made", f"{per_second(watch.rate('injected'))}/s", ()),
        ),
        (
            ("held", count(status["held"]), past["held"]),
            ("dropped", f"{per_second(watch.rate('dropped'))}/s", ()),
            ("bypassed", f"{count(bypassed)}{'!' if bypassed else ''}", ()),
        ),
        (
            ("late p50", micros(late.get("p50")), ()),
            ("late p99", micros(late.get("p99")), past["late"]),
            ("late max", micros(late.get("max")), ()),
        ),
    )
    lines = [Text() for _ in range(3)]
    for number, column in enumerate(columns):
        end = width * (number + 1) // len(columns)
        names, values = (max(len(row[part]) for row in column) for part in (0, 1))
        for line, (name, value, values_before) in zip(lines, column, strict=True):
            line.append(f" {name:{names}} ", style="dim")
            line.append(f"{value:>{max(values, 8)}} ", style="bold red" if "!" in value else "bold")
            line.append(bars(values_before, end - len(line) - 1), style="cyan")
            line.pad_right(end - len(line))
    return lines


def stage_cells(stage: Mapping[str, Any]) -> tuple[str, ...]:
    """A stage: its name; packets held, dropped and made so far."""
    return printable(stage["name"]), count(stage["held"]), count(stage["dropped"]), count(stage["injected"])


def option_cells(name: str, value: str) -> tuple[str, ...]:
    """An option: its name, its value."""
    return printable(name), cut(value, len(value))


def about_stage(stage: Mapping[str, Any]) -> str:
    """A stage in a line: what is in force, and what its policy counted itself."""
    counters = ", ".join(f"{name} {number:,}" for name, number in stage["counters"].items())
    return f"{in_force(stage)} · {printable(counters)}" if counters else in_force(stage)


ORDERS = ("held", "rate", "repeats")
"""What flows can be sorted by."""


def sort(watch: Watch, order: str) -> list[tuple[Mapping[str, Any], float | None]]:
    """The flows with their rates, those with the most of `order` first."""
    if watch.now is None:
        return []
    pairs = list(zip(watch.now.flows, watch.flow_rates(), strict=True))

    def rank(pair: tuple[Mapping[str, Any], float | None]) -> tuple[float, int, str]:
        flow, rate = pair
        first = (rate or 0) if order == "rate" else flow[order]
        return -first, -flow["packets"], flow["flow"]

    return sorted(pairs, key=rank)


def flow_cells(flow: Mapping[str, Any], rate: float | None, width: int) -> tuple[str, ...]:
    """A flow: its ends, in at most this width; packets held now, packets a second, mean hold, repeats, classes."""
    return (
        cut_inside(flow["flow"], width),
        count(flow["held"]),
        per_second(rate),
        f"{flow['hold_ms']:,.1f}",
        count(flow["repeats"]),
        classes(flow),
    )


def classes(flow: Mapping[str, Any]) -> str:
    """How many packets of each class a flow has, the most frequent class first."""
    most_first = sorted(flow["classes"].items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{name} {count(number)}" for name, number in most_first)


def about_flow(flow: Mapping[str, Any], width: int, workers: int) -> str:
    """A flow in a line: what its row has no room for.

    Args:
        width: of the cell that has its ends.
        workers: how many there are.
    """
    name = printable(flow["flow"])
    parts = [
        *([name] if len(name) > width else []),
        f"{flow['direction']}",
        f"{count(flow['packets'])} packets",
        size(flow["bytes"]),
        f"{count(flow['dropped'])} dropped",
        classes(flow),
        *([f"worker {flow['worker'] + 1}"] if workers > 1 else []),
    ]
    return " · ".join(parts)


def size(bytes_: int) -> str:
    """A number of bytes: 345 B, 12.3 kB, 1.2 MB."""
    value, units = float(bytes_), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        del units[0]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"
