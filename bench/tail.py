"""What makes packets late: the engine's lateness, shared out to what its CPU did meanwhile, by the kernel's own events.

shaper runs as `punctuality` runs it, and notes when each batch of verdicts was due and written (see tail_probe.py).
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from heapq import merge
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rich.table import Table

from bench.compiled import BenchError
from bench.namespace import CONSUMER_CPU
from bench.plan import Figures, Found, Plan, interleave_conditions
from bench.punctuality import OFF_BEAT, lateness
from bench.subjects import HERE, MS, SHAPER, Subject, milliseconds, shaper
from bench.tail_causes import Batch, Share, causes
from bench.tail_events import CpuTrace, Recorded
from bench.tail_probe import LATE
from bench.tail_spans import PROGRAM, TRIO, Cpu, Span
from bench.trial import Trial
from shaper.linux import proc
from shaper.trace.read.events import TraceEvent

HOLD = 10 * MS
SECONDS = {20_000: 1.5, 60_000: 1.0}
"""Packets/s -> for how many seconds."""
ALONE, NOTED, TRACED = "alone", "with its notes", "with its notes, traced"
LEAST_SHARE = 0.005
"""Causes of less than this share of the lateness are joined in one row."""
LEAST_COUNTING = 20_000
"""The shortest time (ns) for which counting verdicts is a cause of its own."""
PROGRAMS = 3
"""How many programs that had the CPU have a row each."""
KTHREADD = 2
"""The kernel's process that starts its others (kernel/kthread.c)."""


class Loaded(NamedTuple):
    """One load, and what was seen meanwhile.

    Attributes:
        condition: its name.
        begin, end: in ns.
        late: the lateness as the application sees it.
        recorded: what the kernel traced, if it did.
        names: of the tasks of this shaper and of the kernel, if the kernel traced.
    """

    condition: str
    begin: int
    end: int
    late: Found
    recorded: Recorded | None
    names: dict[int, str]


def measure(plan: Plan) -> Figures:
    """Conditions -> packets, causes of the late ones' lateness, and lateness in µs without and with notes and trace."""
    found: Figures = {}
    late = interleave_conditions(plan.rounds, (ALONE, NOTED, TRACED), lambda how: _run(how, plan, found), str)
    return {condition: {**found[condition], "lateness": late[condition]} for condition in late if condition in found}


def expected(plan: Plan) -> float:
    each = sum(SECONDS[rate] + 0.1 for rate in _rates(plan))
    return plan.rounds * (3 * (each + 1.3) + 4 * each)


def _rates(plan: Plan) -> list[int]:
    return list(SECONDS)[:1] if plan.quick else list(SECONDS)


def _run(how: str, plan: Plan, found: Figures) -> Iterator[tuple[str, Found]]:
    """The lateness at each rate, with the name of the condition; if it is traced, the causes are added to `found`."""
    command = shaper(f"delay:time={milliseconds(HOLD)}ms")
    with TemporaryDirectory() as directory, ExitStack() as opened:
        notes = Path(directory, "notes")
        if how != ALONE:
            python = str(Path(SHAPER).with_name("python"))
            command = [python, "-P", str(HERE / "tail_probe.py"), str(notes), *command[1:]]
        trial = opened.enter_context(Trial(Subject(f"shaper, {how}", command, HOLD)))
        trial.load(rate=1000, seconds=0.3)
        trace = opened.enter_context(CpuTrace(_engine(trial), CONSUMER_CPU)) if how == TRACED else None
        engine = trace.number(_engine(trial)) if trace is not None else 0
        loads = [_load(trial, rate, trace) for rate in _rates(plan)]
        trial.stop()
        said = json.loads(notes.read_text()) if how != ALONE else None
        for load in loads:
            if said is not None:
                reports, batches, packets = reported(said, load.begin, load.end)
                load.late["over_%"] = 100 * sum(len(batch.late) for batch in batches) / packets
                if load.recorded is not None:
                    _no_loss(said, load.recorded)
                    events = merge(load.recorded.events(), reports, key=attrgetter("at"))
                    spans = list(Cpu(engine, CONSUMER_CPU, load.names).spans(events))
                    _add(found.setdefault(load.condition, {}), spans, batches, packets)
            yield load.condition, load.late


def _load(trial: Trial, rate: int, trace: CpuTrace | None) -> Loaded:
    begin = time.monotonic_ns()
    if trace is not None:
        trace.start()
    late = lateness(trial, rate * OFF_BEAT, SECONDS[rate])
    recorded = trace.stop() if trace is not None else None
    names = {trace.number(task): name for task, name in _names(trial).items()} if trace is not None else {}
    return Loaded(f"{HOLD // MS} ms hold, {rate} packets/s", begin, time.monotonic_ns(), late, recorded, names)


def _engine(trial: Trial) -> int:
    """The process that takes the packets, and its thread that does."""
    assert trial.process is not None
    return proc.children(trial.process.pid)[0]


def _names(trial: Trial) -> dict[int, str]:
    """What the tasks of this shaper are, and of the kernel."""
    assert trial.process is not None
    engine = _engine(trial)
    roles = {trial.process.pid: "shaper's front", engine: "another thread of the engine"}
    roles |= dict.fromkeys(proc.children(engine), "shaper's guardian")
    names = {task: role for pid, role in roles.items() for task in proc.threads(pid)}
    if not proc.in_pid_namespace():
        for pid in proc.children(KTHREADD):
            with suppress(OSError):  # it has ended meanwhile
                names[pid] = f"the kernel's {proc.comm(pid, pid).partition('/')[0]}"
    return names


def reported(said: dict[str, Any], begin: int, end: int) -> tuple[list[TraceEvent], list[Batch], int]:
    """What the engine's notes say from `begin` to `end` (ns): what it did beside its work, as events, and its batches.

    The third is how many packets these batches had.
    """
    names = ["" if "Engine.run" in name else f"trio's task {name.rpartition('.')[2]}" for name in said["tasks"]]
    rows: list[tuple[int, str, dict[str, Any]]] = []
    rows += [(at, "step", {"task": names[task] if begins else TRIO}) for at, task, begins in said["steps"]]
    rows += [(at, "collection", {"begins": bool(begins)}) for at, _, begins in said["collections"]]
    late = iter(said["late"])
    batches, packets = [], 0
    for first, written, counted, count, delayed in said["batches"]:
        dues = [next(late)[0] for _ in range(delayed)]
        if begin <= first and written <= end:
            batches.append(Batch(first, written, dues))
            packets += count
            if counted - written >= LEAST_COUNTING:
                rows += [(written, "counting", {"begins": True}), (counted, "counting", {"begins": False})]
    events = [TraceEvent(at, CONSUMER_CPU, 0, "", name, fields) for at, name, fields in rows if at <= end]
    return sorted(events, key=attrgetter("at")), batches, packets


def _no_loss(said: dict[str, Any], recorded: Recorded) -> None:
    """See whether there was room for all that was noted and traced.

    Raises:
        BenchError: there wasn't.
    """
    lost = said["lost"] + sum(event.fields["count"] for event in recorded.events() if event.name == "lost")
    if lost:
        raise BenchError(f"{lost} events lost; the buffers are too small")


def _add(found: dict[str, Any], spans: list[Span], batches: list[Batch], packets: int) -> None:
    """Add what one load has shown."""
    found["packets"] = found.get("packets", 0) + packets
    for name, undisturbed in (("causes", False), ("undisturbed", True)):
        shares = found.setdefault(name, {})
        for cause, share in causes(spans, batches, undisturbed=undisturbed).items():
            before = Share(**shares.get(cause, {}))
            added = (before.packets + share.packets, before.us + share.us, max(before.longest_us, share.longest_us))
            shares[cause] = Share(*added)._asdict()


def tables(figures: Figures) -> list[Table]:
    made = []
    for condition, found in figures.items():
        shares = [{cause: Share(**each) for cause, each in found[name].items()} for name in ("causes", "undisturbed")]
        late, undisturbed = (f"{sum(each.packets for each in part.values()):,}" for part in shares)
        title = f"{condition}: {late} of {found['packets']:,} over {LATE // 1000} µs late"
        made.append(_causes_table(title, shares[0]))
        if undisturbed != late:
            made.append(_causes_table(f"The same, where no other program made a pause: {undisturbed}", shares[1]))
        made.append(_lateness_table(condition, found["lateness"]))
    return made


def _causes_table(title: str, shares: dict[str, Share]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("from its due time on", "packets", "% of lateness", "longest, µs"):
        table.add_column(column, justify="right" if table.columns else "left")
    whole = sum(share.us for share in shares.values())
    ranked = sorted(shares, key=lambda cause: -shares[cause].us)
    programs = [cause for cause in ranked if cause.startswith(PROGRAM)][PROGRAMS:]
    if sum(shares[cause].us for cause in programs) < LEAST_SHARE * whole or len(programs) == 1:
        programs = []
    few = [cause for cause in ranked if cause not in programs and shares[cause].us < LEAST_SHARE * whole]
    for cause in ranked:
        if cause not in programs and cause not in few:
            table.add_row(cause, *_row(shares[cause], whole))
    for joined, name in ((programs, "other programs had the CPU"), (few, "others")):
        if joined:
            packets, us, longest = zip(*(shares[cause] for cause in joined), strict=True)
            table.add_row(f"{len(joined)} {name}", *_row(Share(sum(packets), sum(us), max(longest)), whole))
    return table


def _row(share: Share, whole: float) -> tuple[str, str, str]:
    return f"{share.packets:,}", f"{100 * share.us / whole:.1f}", f"{share.longest_us:,.0f}"


def _lateness_table(condition: str, late: dict[str, Found]) -> Table:
    table = Table(title=f"Lateness in µs as the application sees it, {condition}", title_justify="left")
    for column in ("shaper", "p50", "p99", "p99.9", "max", "CPU µs", "late %"):
        table.add_column(column, justify="right" if table.columns else "left")
    for how, each in late.items():
        figures = (f"{each[key]:,.0f}" for key in ("p50", "p99", "p99.9", "max"))
        table.add_row(how, *figures, f"{each['cpu_us']:.1f}", f"{each['over_%']:.2f}" if "over_%" in each else "-")
    return table
