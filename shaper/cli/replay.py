"""`shaper replay`: a capture through policies, in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shaper.cli.options import Json, MaxHold, Policies, ProfileName, Seed, given_profile, given_scenario
from shaper.core.core import MAX_HOLD, Core
from shaper.core.counts import dropped_by, touched_nothing
from shaper.errors import ShaperError, UsageError
from shaper.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.capture import Capture
    from shaper.core.verdict import Verdict
    from shaper.report.quantiles import Quantiles
    from shaper.wire.packet import Packet

EXAMPLES = (
    "shaper replay in.pcap --policy spread_burst:gap=10ms -o out.pcapng",
    "shaper replay in.pcap --policy ./drop_third.py --timeline",
    "shaper replay in.pcap --policy delay:20ms --filter 'tcp port 80' --json",
    "shaper replay in.pcap --profile satellite_geo --policy loss:1%",
)
KINDS = 8
"""How many kinds of frames are named in a line."""


def narrowed(context: typer.Context, expression: str | None) -> str | None:
    """The callback of --filter: the expression, and what else the profile matches."""
    profile = given_profile(context)
    return profile.expression(expression) if profile else expression


def replay(
    context: typer.Context,
    capture: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="A pcap or pcapng file, perhaps compressed (gzip, xz, bzip2); - for standard input."
        ),
    ],
    policy: Policies,
    profile: ProfileName = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write a pcapng capture of the packets that are sent, at their times of departure, in the frames in "
            "which they came. Frames without IP are in it, too.",
        ),
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="EXPR",
            callback=narrowed,
            help="Use only packets that match this tcpdump expression. It sees the IP packet, not the link's header.",
        ),
    ] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Print what happened to each packet, as a timeline.")
    ] = False,
    journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what happened to each packet, as JSON lines.")
    ] = None,
    changes: Annotated[
        Path | None,
        typer.Option(
            metavar="JOURNAL",
            help="Repeat the signals and the changes of the policies that are in this journal of the live run. "
            "A profile's phases are changes, too: they come from the journal.",
        ),
    ] = None,
    seed: Seed = "0",
    max_hold: MaxHold = MAX_HOLD,
    json: Json = None,
) -> int:
    """Run a capture through policies, in virtual time.

    Needs no privileges. Every packet is taken at its capture time and leaves when the
    policies say, to the nanosecond; the same capture and seed give the same result.
    What can be read, and what happens to frames without IP, is in docs/formats.md.
    The exit status is 1 if a policy failed, if packets were sent early because of
    --max-hold, or if the capture is damaged.
    """
    from shaper.capture import Capture, CaptureError, FrameWriter
    from shaper.capture.source import STDIN
    from shaper.core.failure import PoliciesFailed
    from shaper.core.instances import stage_names
    from shaper.core.virtual import play
    from shaper.journal import Clocks, Journal, read_changes
    from shaper.replay import VirtualClock
    from shaper.report.output import console, write_json
    from shaper.report.progress import reading
    from shaper.report.quantiles import HoldsByPolicy
    from shaper.spec.changes import prepare
    from shaper.spec.load import load_pipeline
    from shaper.timeline import StoryWriter

    for file in (output, journal, json):
        if file is not None and capture != STDIN and file.exists() and file.samefile(capture):
            raise UsageError(f"{file} is the capture itself; give another file to write")
    if changes is not None and expression is not None:
        raise UsageError("--changes counts all packets of the capture; leave out --filter")
    pipeline = load_pipeline(policy, max_hold)
    scenario = given_scenario(context)
    if timeline and (scenario is not None or changes is not None):
        what = "--changes" if changes is not None else "a profile with phases"
        raise UsageError(f"--timeline writes a story of one pipeline; leave it out for {what}")
    if changes is not None:
        scenario = None
    core = Core(pipeline, seed=seed, max_hold=max_hold, then=scenario.then(max_hold) if scenario else ())
    source, clock = Capture(capture, expression), VirtualClock(max_hold)
    arrivals = clock.run(begun(iter(source)))
    try:
        recorded = list(prepare(read_changes(changes), pipeline, max_hold)) if changes is not None else []
    except UsageError as error:
        raise UsageError(f"{changes}: {error}") from None
    holds = HoldsByPolicy(stage_names(pipeline))
    cut, noted = None, 0
    out = console(json)
    with ExitStack() as files:
        writer = files.enter_context(FrameWriter(output)) if output is not None else None
        lines = story = None
        if journal is not None:
            opened = files.enter_context(journal.open("w", encoding="utf-8"))
            lines = Journal(opened, policies=policy, seed=seed, clocks=Clocks(0, 0))
        if timeline:
            story = StoryWriter(
                policy, lambda text: out.print(text, markup=False, soft_wrap=True), seed=seed, max_hold=max_hold
            )
            arrivals = story.beside(arrivals)
        else:
            files.enter_context(reading(capture, out))
        try:
            for verdict in play(core, arrivals, recorded):
                shift = clock.behind(verdict) if clock.differs else 0
                if writer is not None:
                    writer.verdict(verdict, verdict.planned + shift)
                if verdict.fate == "passed":
                    continue
                holds.note(verdict)
                if lines is not None:
                    for change in core.changes[noted:]:
                        lines.changed(change)
                        noted += 1
                    lines.record(verdict, shift=shift)
                if story is not None:
                    story.verdict(verdict)
        except CaptureError as error:
            cut = error
        if lines is not None:
            for change in core.changes[noted:]:
                lines.changed(change)
        if story is not None:
            story.close()
    show(out, core, source, holds.by_policy())
    write_json(document(capture, policy, seed, core, source, holds.by_policy()), json)
    if cut is not None:
        raise cut
    if core.failures:
        raise PoliciesFailed(core.failures)
    if core.counts.cut_short:
        raise ShaperError(f"{core.counts.cut_short} packets were sent early, since a policy planned beyond --max-hold")
    return 0


def begun(arrivals: Iterator[Packet | Verdict]) -> Iterator[Packet | Verdict]:
    """The same packets, the first one read already: an unreadable capture fails before any file is written."""
    return chain(list(islice(arrivals, 1)), arrivals)


def show(out: Console, core: Core, source: Capture, holds: dict[str, Quantiles]) -> None:
    """Print the summary."""
    from shaper.report.table import table

    beyond = f" ({core.counts.overflowed} beyond a limit)" if core.counts.overflowed else ""
    out.print(
        f"{core.counts.taken} packets taken: {core.counts.sent} sent, {core.counts.dropped} dropped{beyond}; "
        f"{core.counts.injected} injected, {core.counts.cut_short} cut short"
    )
    if passed := source.passed.total():
        what = "1 frame is" if passed == 1 else f"{passed} frames are"
        out.print(f"{what} no IP ({kinds(source.passed)}): passed on unshaped", soft_wrap=True)
    for reason, number in source.left_out.items():
        if number:
            out.print(f"{number} frame{'s' * (number > 1)} left out: {reason}")
    if source.went_back:
        what = "1 time stamp goes" if source.went_back == 1 else f"{source.went_back} time stamps go"
        furthest = format_duration(source.furthest)
        out.print(f"{what} back, by {furthest} at most: packets are held from when they were taken", soft_wrap=True)
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


def kinds(counted: Counter[str]) -> str:
    """How many there are of each kind, the most first: "ARP 10, USB 2"."""
    most = counted.most_common(KINDS)
    rest = counted.total() - sum(number for _, number in most)
    return ", ".join([*(f"{name} {number}" for name, number in most), *([f"others {rest}"] if rest else [])])


def document(
    capture: Path, policies: list[str], seed: str, core: Core, source: Capture, holds: dict[str, Quantiles]
) -> dict[str, Any]:
    """The summary as JSON, see schemas/replay.json."""
    return {
        "v": 1,
        "capture": str(capture),
        "policies": policies,
        "seed": seed,
        "passed": dict(source.passed.most_common()),
        "left_out": dict(+source.left_out),
        "went_back": source.went_back,
        "went_back_ns": source.furthest,
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
