"""`shaper replay`: a capture through policies, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shaper.cli.options import Json, MaxHold, Policies, ProfileName, Seed, given_profile, given_scenario
from shaper.core.core import MAX_HOLD, Core
from shaper.core.counts import dropped_by, touched_nothing
from shaper.errors import ShaperError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.core.verdict import Verdict
    from shaper.report.quantiles import Quantiles
    from shaper.wire.packet import Packet

EXAMPLES = (
    "shaper replay in.pcap --policy spread_burst:gap=10ms -o out.pcapng",
    "shaper replay in.pcap --policy ./drop_third.py --timeline",
    "shaper replay in.pcap --policy delay:20ms --filter 'tcp port 80' --json",
    "shaper replay in.pcap --profile satellite_geo --policy loss:1%",
)


def narrowed(context: typer.Context, expression: str | None) -> str | None:
    """The callback of --filter: the expression, and what else the profile matches."""
    profile = given_profile(context)
    return profile.expression(expression) if profile else expression


def replay(
    context: typer.Context,
    capture: Annotated[Path, typer.Argument(metavar="IN", help="A pcap or pcapng file.")],
    policy: Policies,
    profile: ProfileName = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write a pcapng capture of the packets that are sent, at their times of departure.",
        ),
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="EXPR", callback=narrowed, help="Use only packets that match this tcpdump expression."
        ),
    ] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Print what happened to each packet, as a timeline.")
    ] = False,
    journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what happened to each packet, as JSON lines.")
    ] = None,
    signals: Annotated[
        Path | None,
        typer.Option(metavar="JOURNAL", help="Give policies the signals that are in this journal of the live run."),
    ] = None,
    seed: Seed = "0",
    max_hold: MaxHold = MAX_HOLD,
    json: Json = None,
) -> int:
    """Run a capture through policies, in virtual time.

    Needs no privileges. Every packet is taken at its capture time and leaves when the
    policies say, to the nanosecond; the same capture and seed give the same result.
    The exit status is 1 if a policy failed, if packets were sent early because of
    --max-hold, or if the capture is damaged.
    """
    from shaper.capture import CaptureError, CaptureWriter, read_capture
    from shaper.capture.filter import read_filtered
    from shaper.core.failure import PoliciesFailed
    from shaper.core.instances import stage_names
    from shaper.journal import Clocks, Journal, read_signals
    from shaper.replay import replay as run
    from shaper.report.output import console, write_json
    from shaper.report.quantiles import HoldsByPolicy
    from shaper.spec.load import load_pipeline
    from shaper.timeline import write

    for file in (output, journal, json):
        if file is not None and file.exists() and file.samefile(capture):
            raise UsageError(f"{file} is the capture itself; give another file to write")
    if signals is not None and expression is not None:
        raise UsageError("--signals counts all packets of the capture; leave out --filter")
    pipeline = load_pipeline(policy, max_hold)
    scenario = given_scenario(context)
    if timeline and scenario is not None:
        raise UsageError("--timeline writes a story of one pipeline; leave it out for a profile with phases")
    core = Core(pipeline, seed=seed, max_hold=max_hold, then=scenario.then(max_hold) if scenario else ())
    packets = begun(read_filtered(capture, expression) if expression else read_capture(capture))
    recorded = read_signals(signals) if signals is not None else []
    names = stage_names(pipeline)
    if stranger := next((given.policy for given in recorded if given.policy not in names), None):
        raise UsageError(f"{signals} has signals for {stranger}, but the policies are {', '.join(names)}")
    holds = HoldsByPolicy(names)
    taken: list[Packet] = []
    verdicts: list[Verdict] = []
    cut = None
    with ExitStack() as files:
        sinks: list[Callable[[Verdict], object]] = [holds.note]
        if output is not None:
            writer = files.enter_context(CaptureWriter(output, interfaces=("sent",)))
            sinks.append(lambda verdict: writer.verdict(verdict, verdict.planned))
        if journal is not None:
            lines = files.enter_context(journal.open("w", encoding="utf-8"))
            written = Journal(lines, policies=policy, seed=seed, clocks=Clocks(0, 0))
            changes = 0

            def write_down(verdict: Verdict) -> None:
                nonlocal changes
                for change in core.replaced[changes:]:
                    written.replaced(change)
                    changes += 1
                written.record(verdict)

            sinks.append(write_down)
        if timeline:
            packets = kept(packets, taken)
            sinks.append(verdicts.append)
        try:
            for verdict in run(packets, core, recorded):
                for sink in sinks:
                    sink(verdict)
        except CaptureError as error:
            cut = error
    out = console(json)
    if timeline:
        out.print(str(write(policy, taken, verdicts, seed=seed, max_hold=max_hold)), markup=False, soft_wrap=True)
    show(out, core, holds.by_policy())
    write_json(document(capture, policy, seed, core, holds.by_policy()), json)
    if cut is not None:
        raise cut
    if core.failures:
        raise PoliciesFailed(core.failures)
    if core.counts.cut_short:
        raise ShaperError(f"{core.counts.cut_short} packets were sent early, since a policy planned beyond --max-hold")
    return 0


def begun(packets: Iterator[Packet]) -> Iterator[Packet]:
    """The same packets, the first one read already: an unreadable capture fails before any file is written."""
    return chain(list(islice(packets, 1)), packets)


def kept(packets: Iterable[Packet], taken: list[Packet]) -> Iterator[Packet]:
    """The same packets, each appended to `taken`."""
    for packet in packets:
        taken.append(packet)
        yield packet


def show(out: Console, core: Core, holds: dict[str, Quantiles]) -> None:
    """Print the summary."""
    from shaper.report.table import table

    beyond = f" ({core.counts.overflowed} beyond a limit)" if core.counts.overflowed else ""
    out.print(
        f"{core.counts.taken} packets taken: {core.counts.sent} sent, {core.counts.dropped} dropped{beyond}; "
        f"{core.counts.injected} injected, {core.counts.cut_short} cut short"
    )
    if core.counts.dropped:
        out.print(f"dropped: {', '.join(f'{number} by {name}' for name, number in dropped_by(core.stages).items())}")
    for name, counted in core.counters.items():
        out.print(f"{name}: {', '.join(f'{counter} {number}' for counter, number in counted.items())}")
    rows = [
        (name, held.packets, held.p50 / 1e6, held.p99 / 1e6, held.max / 1e6)
        for name, held in holds.items()
        if held.packets
    ]
    for name, reason in touched_nothing(core.stages, core.counts.taken, core.failures).items():
        out.print(f"{name} touched nothing: {reason}")
    if rows:
        out.print(table(("Policy", "Packets held", "p50 (ms)", "p99 (ms)", "max (ms)"), rows))


def document(capture: Path, policies: list[str], seed: str, core: Core, holds: dict[str, Quantiles]) -> dict[str, Any]:
    """The summary as JSON, see schemas/replay.json."""
    return {
        "v": 1,
        "capture": str(capture),
        "policies": policies,
        "seed": seed,
        "taken": core.counts.taken,
        "sent": core.counts.sent,
        "dropped": core.counts.dropped,
        "dropped_by": dropped_by(core.stages),
        "overflowed": core.counts.overflowed,
        "injected": core.counts.injected,
        "cut_short": core.counts.cut_short,
        "held": [{"policy": name, **held.as_json()} for name, held in holds.items()],
        "counters": core.counters,
        "touched_nothing": touched_nothing(core.stages, core.counts.taken, core.failures),
        "failures": [str(failure) for failure in core.failures],
    }
