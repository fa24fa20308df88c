"""What a hunt prints: the fates, where the failing run parts from a passing one, and how to make it fail again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from shaper.experiment.hunt.plan import Schedule
from shaper.experiment.hunt.run import Hunted, spec_of
from shaper.experiment.trial import Outcome, Trial
from shaper.journal import Record, names_of
from shaper.policy.fate import format_fates
from shaper.report.traffic import Traffic
from shaper.units import format_duration, ms, s
from shaper.wire.naming import PacketName

COLUMN = 38
"""The width of one run, side by side."""
BEFORE, AFTER = 3, 12
"""At most this many packets are shown before the runs part, and after."""
WAITED_FOR = {"network": "the network", "timer": "a timer", "task": "another task"}
TASKS = 4
"""The most threads of which the last call that waited is shown."""
SAID = 5
"""The last lines of what the failing command said."""

TEST = """\
from shaper.experiment import Lab, Trial


def test_it_withstands_this_network() -> None:
    trial = Trial(
{arguments}
    )
    with Lab() as lab:
        outcome = lab.run(trial)
    assert outcome.status == 0, outcome.stderr.decode(errors="replace")
"""


class Row(NamedTuple):
    """A packet of one run: when it came (ms after the first one), its name, its size, and what became of it."""

    at: float
    name: PacketName | None
    size: int | None
    fate: str


def lines(hunted: Hunted, kept: str | None = None, waits: Sequence[str] = ()) -> Iterator[str]:
    """The report; lines of at most 80 columns, but for commands and long names.

    Args:
        hunted: what came of the hunt.
        waits: the calls that waited last, see `last_waits`.
        kept: the file in which the failure is kept.
    """
    trials = f"{hunted.trials} trial{'s' * (hunted.trials != 1)} in {_short(hunted.duration)}"
    yield f"{trials}; {hunted.packets} packets in the undisturbed run"
    for fates, failure in hunted.flukes:
        yield f"failed once, and not again ({failure}): {format_fates(fates)}"
    found = hunted.found
    if found is None:
        why = {"exhausted": ", and nothing is left to try", "interrupted": " until it was interrupted"}
        yield f"no failure in {trials}{why.get(hunted.end, '')}"
        return
    yield ""
    yield f"It fails ({found.failure}, {found.failed} of {found.runs}) with:"
    yield ""
    yield from (f"    {fate}" for fate in found.fates)
    yield ""
    if hunted.failing is not None:
        yield from said(hunted.failing)
    if waits:
        yield "The calls that waited last:"
        yield ""
        yield from (f"    {wait}" for wait in waits)
        yield ""
    if hunted.failing is not None and hunted.passing is not None:
        yield from side_by_side(rows(hunted.passing.records), rows(hunted.failing.records))
        yield ""
    yield "To see it again:"
    yield ""
    yield f"    {command(hunted.trial, found.fates)}"
    yield ""
    yield "As a test:"
    yield ""
    yield from (f"    {line}".rstrip() for line in as_test(hunted.trial, found.fates).splitlines())
    if kept is not None:
        yield ""
        yield f"Kept in {kept}; the next hunt of this command tries it first."


def said(outcome: Outcome) -> Iterator[str]:
    """The last lines of what the command wrote to its standard error, or else to its standard output."""
    text = (outcome.stderr.strip() or outcome.stdout.strip()).decode(errors="replace")
    if text:
        yield "The last it said:"
        yield ""
        yield from (f"    {line[:76]}" for line in text.splitlines()[-SAID:])
        yield ""


def last_waits(blockings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The last call of each thread that waited, the latest first, in words.

    Args:
        blockings: of a traced run, as in its JSON document.
    """
    last: dict[int, Mapping[str, Any]] = {}
    for blocking in sorted(blockings, key=_end):
        last[blocking["tid"]] = blocking
    return [_in_words(blocking) for blocking in sorted(last.values(), key=_end, reverse=True)[:TASKS]]


def _end(blocking: Mapping[str, Any]) -> float:
    return float(blocking["start_ns"] + blocking["duration_ms"] * ms)


def _in_words(blocking: Mapping[str, Any]) -> str:
    """`client nc: poll 724.1 ms, for the network, woken by FIN #9`."""
    task = f"{blocking['role']} {blocking['task']}".strip()
    reason = WAITED_FOR.get(blocking["waited_for"], blocking["waited_for"])
    call = f"{blocking['syscall']} {blocking['duration_ms']:.1f} ms" + (f", for {reason}" if reason else "")
    if not blocking["ended"]:
        return f"{task}: {call}, and still waits"
    waker = blocking["waker"]
    is_told = waker and waker["kind"] in ("packet", "task")
    return f"{task}: {call}" + (f", woken by {waker['name']}" if is_told else "")


def command(trial: Trial, fates: Schedule) -> str:
    """The command line that makes it fail again."""
    return shlex.join(["shaper", "run", *arguments(trial, fates)])


def arguments(trial: Trial, fates: Schedule) -> list[str]:
    """The arguments of `shaper run` that make it fail again."""
    policies = [word for spec in (*spec_of(fates), *trial.policies) for word in ("--policy", spec)]
    seed = ["--seed", trial.seed] if trial.seed != "0" else []
    return [*policies, *seed, "--", *trial.command]


def as_test(trial: Trial, fates: Schedule) -> str:
    """A test for pytest that passes once the command withstands these fates."""
    values = {"command": trial.command, "policies": (*spec_of(fates), *trial.policies), "timeout": trial.timeout}
    if trial.seed != "0":
        values["seed"] = trial.seed
    return TEST.format(arguments="\n".join(f"        {name}={_literal(value)}," for name, value in values.items()))


def _literal(value: object) -> str:
    if isinstance(value, int):
        return f"{value:_}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' * (len(value) == 1)})"
    text = repr(value)
    return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text else text


def rows(records: Sequence[Record]) -> list[Row]:
    """The packets of a run in order of arrival, the copies that policies made behind them."""
    packets = sorted(records, key=lambda record: (record.arrived, not record.id, record.id))
    traffic, names = Traffic(packets), names_of(packets)
    begin = packets[0].arrived if packets else 0
    return [
        Row((record.arrived - begin) / ms, name, _size(record, traffic), _fate(record))
        for record, name in zip(packets, names, strict=True)
    ]


def packets(records: Sequence[Record]) -> Iterator[str]:
    """A line for each packet of a journal, with the name by which a fate knows it."""
    return (_text(row, single=False) for row in rows(records))


def _size(record: Record, traffic: Traffic) -> int | None:
    return traffic.size(record) if record.kind in ("data", "udp") else None


def _fate(record: Record) -> str:
    if record.fate == "dropped":
        return "dropped"
    if not record.id:
        return "a copy"
    held = sum(hold.ns for hold in record.held if hold.policy == "fates")
    return f"held {round(held / ms)} ms" if held >= ms / 2 else ""


def side_by_side(passing: Sequence[Row], failing: Sequence[Row]) -> Iterator[str]:
    """Two runs, from shortly before they part."""
    parts = _parting(passing, failing)
    services = {row.name.service for row in (*passing, *failing) if row.name is not None}
    single = len(services) == 1
    yield f"{_pad('passing run (ms)')} │ {'failing run (ms)'}"
    for before in (True, False):
        texts = [
            _some(run, part, before=before, single=single) for run, part in zip((passing, failing), parts, strict=True)
        ]
        if before:  # what comes right before the parting is side by side
            most = max(map(len, texts))
            texts = [[""] * (most - len(each)) + each for each in texts]
        for left, right in zip_longest(*texts, fillvalue=""):
            yield f"{_pad(left)} │ {right}".rstrip()
        if before:
            yield f"{'─' * COLUMN} ┼ {'─' * (COLUMN - 15)} here they part"


def _parting(passing: Sequence[Row], failing: Sequence[Row]) -> tuple[int, int]:
    """The first packet of each run in which they differ: the first that has a fate, else the first that is another."""
    for index, row in enumerate(failing):
        if row.fate and row.name is not None:
            same = (other for other, found in enumerate(passing) if found.name == row.name)
            if (before := next(same, None)) is not None:
                return before, index
            break
    pairs = enumerate(zip(passing, failing, strict=False))
    index = next(
        (index for index, (one, other) in pairs if (one.name, one.fate) != (other.name, other.fate)),
        min(len(passing), len(failing)),
    )
    return index, index


def _some(run: Sequence[Row], part: int, *, before: bool, single: bool) -> list[str]:
    """The lines of one run's last packets before they part, or of the first ones after that."""
    first, last = (max(0, part - BEFORE), part) if before else (part, part + AFTER)
    texts = [_text(row, single=single, width=COLUMN) for row in run[first:last]]
    if before:
        return [f"         {first} packets before", *texts] if first else texts
    return [*texts, f"         {len(run) - last} more"] if last < len(run) else texts


def _text(row: Row, *, single: bool, width: int = 80) -> str:
    """`  200.6 #1 reply data 2, 48 B, dropped`; the service is left out if there is only one.

    Args:
        width: if the line would be longer, it has no size.
    """
    size = "" if row.size is None else f", {row.size} B"
    fate = f", {row.fate}" if row.fate else ""
    if row.name is None:
        return f"{row.at:7.1f} {row.fate}{size}"
    name = row.name._replace(service="") if single else row.name
    text = f"{row.at:7.1f} {name}{size}{fate}"
    return text if len(text) <= width else f"{row.at:7.1f} {name}{fate}"


def _pad(text: str) -> str:
    return text[:COLUMN].ljust(COLUMN)


def _short(duration: int) -> str:
    return f"{duration / s:.1f} s" if duration < 100 * s else f"{duration / (60 * s):.1f} min"


def document(hunted: Hunted) -> dict[str, Any]:
    """The result as JSON, see schemas/hunt.json."""
    found = hunted.found
    return {
        "v": 1,
        "command": list(hunted.trial.command),
        "policies": list(hunted.trial.policies),
        "seed": hunted.trial.seed,
        "timeout": format_duration(hunted.trial.timeout),
        "end": hunted.end,
        "trials": hunted.trials,
        "duration_ms": hunted.duration / ms,
        "packets": hunted.packets,
        "found": None
        if found is None
        else {
            "fates": list(map(str, found.fates)),
            "failure": found.failure,
            "failed": found.failed,
            "runs": found.runs,
            "first": list(map(str, found.first)),
            "command": command(hunted.trial, found.fates),
        },
        "flukes": [{"fates": list(map(str, fates)), "failure": failure} for fates, failure in hunted.flukes],
    }
