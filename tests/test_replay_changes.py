"""Changes in the journal: they can be read again, and a replay repeats them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper import Packet, ms
from shaper.capture import CaptureWriter
from shaper.cli import main
from shaper.core.change import Change, ChangeError
from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.core.virtual import play
from shaper.errors import UsageError
from shaper.journal import Clocks, Journal, JournalError, read_changes, read_journal
from shaper.policy.signal import Signal, SignalRecord
from shaper.spec.changes import prepare
from shaper.spec.load import load_pipeline, parse_options
from shaper.units import s
from shaper.wire.flow import Flow
from tests.cores import udp
from tests.examples import examples
from tests.schema import schema
from tests.test_invariants import told
from tests.traffic import anew, traffic

CAPTURE = Clocks(0, 0)
CHANGES = [
    Change(7, 3, "replace", ("delay:1ms", "loss:1%")),
    Change(8, 3, "change", stage="delay", options={"time": "50ms"}),
    Change(8, 4, "pause"),
    Change(9, 5, "release"),
    Change(10, 6, "resume"),
]
SIGNAL = SignalRecord("prequeue", Signal("drained", Flow("tcp", "192.0.2.1", 1, "192.0.2.9", 80)), 11, 7)


def journal_of(path: Path, *given: Change | SignalRecord, clocks: Clocks = CAPTURE) -> Path:
    text = io.StringIO()
    journal = Journal(text, policies=["delay:20ms"], seed=0, clocks=clocks)
    for one in given:
        if isinstance(one, Change):
            journal.changed(one)
        else:
            journal.signalled(one)
    path.write_text(text.getvalue())
    return path


def test_changes_are_read_as_they_were_written_with_the_times_of_the_capture(tmp_path: Path) -> None:
    file = journal_of(tmp_path / "journal", *CHANGES, SIGNAL, clocks=Clocks(5, 1005))
    assert read_journal(file)[1] == []
    assert read_changes(file) == [
        *(change._replace(at=change.at + 1000) for change in CHANGES),
        SIGNAL._replace(at=1011),
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"change": "stop"}, "there is no change 'stop'"),
        ({"change": ["delay:1ms"]}, "change is no text"),
        ({"change": "replace"}, "lacks 'policies'"),
        ({"change": "replace", "policies": "delay"}, "policies is no list of texts"),
        ({"change": "replace", "policies": [1]}, "policies is no list of texts"),
        ({"change": "change", "options": {}}, "lacks 'stage'"),
        ({"change": "change", "stage": "delay"}, "lacks 'options'"),
        ({"change": "change", "stage": "delay", "options": []}, "options is no object"),
        ({"change": "change", "stage": "delay", "options": {"time": 1}}, "time is no text"),
        ({"change": "pause", "at_ns": 0.5}, "at_ns is no whole number"),
        ({"change": "pause", "taken": None}, "taken is no whole number"),
        ({"change": "pause", "v": 2}, "version 2 of the journal"),
    ],
)
def test_damaged_lines_are_refused_in_one_line(line: dict[str, object], why: str, tmp_path: Path) -> None:
    file = journal_of(tmp_path / "journal")
    with file.open("a") as text:
        text.write(json.dumps({"v": 1, "at_ns": 1, "taken": 1} | line) + "\n")
    with pytest.raises(JournalError) as error:
        read_changes(file)
    assert str(error.value).startswith(f"{file}:2: ")
    assert why in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (Change(0, 0, "change", stage="loss", options={}), "there is a change for loss, but the policies are delay"),
        (Change(0, 0, "change", stage="delay", options={"tme": "1"}), "delay has no option 'tme'"),
        (Change(0, 0, "change", stage="delay", options={"time": "x"}), "delay: option time: "),
        (Change(0, 0, "change", stage="delay", options={"scope": "queue"}), "delay: scope can't be changed"),
        (Change(0, 0, "replace", ("no_such",)), "there is no policy 'no_such'"),
    ],
)
def test_changes_that_cannot_be_made(
    change: Change, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture, file = tmp_path / "in.pcapng", journal_of(tmp_path / "journal", change)
    with CaptureWriter(capture) as writer:
        writer.arrived(udp(1))
    assert main(["replay", str(capture), "--policy", "delay", "--changes", str(file)]) == 2
    assert why in capsys.readouterr().err


def test_names_are_those_of_the_pipeline_in_force() -> None:
    pipeline = load_pipeline(["loss:0%"])
    found = [Change(0, 0, "replace", ("delay:1ms",)), Change(1, 0, "change", stage="delay", options={"time": "2ms"})]
    replaced, changed = prepare(found, pipeline, s)
    assert (replaced.at, replaced.taken, changed.at) == (0, 0, 1)
    with pytest.raises(ChangeError, match="a change for delay, but the policies are loss"):
        list(prepare(found[1:], pipeline, s))
    with pytest.raises(UsageError, match="longer than any packet may be held"):
        list(prepare([Change(0, 0, "change", stage="loss", options={"scope": "x"})][:0] + found, pipeline, ms))


SPECS: tuple[list[str], ...] = (
    ["delay:20ms"],
    ["rate:100kbit", "loss:20%"],
    ["delay:5ms,jitter=3ms", "duplicate:50%"],
    ["loss:50%"],
    [],
)
STEPS = (
    ("change", "delay", {"time": "3ms"}),
    ("change", "delay", {"time": "40ms", "jitter": "9ms", "limit": "5"}),
    ("change", "rate", {"rate": "1mbit"}),
    ("change", "loss", {"probability": "80%"}),
    ("pause", "", {}),
    ("resume", "", {}),
    ("release", "", {}),
    *(("replace", "", dict.fromkeys(specs, "")) for specs in SPECS),
)
steps = st.lists(
    st.tuples(st.integers(1, 40), st.sampled_from(STEPS), st.sampled_from((0, 1, 777, 5 * ms))), max_size=8
)


def live(
    specs: Sequence[str], packets: list[Packet], acts: Sequence[tuple[int, tuple[str, str, dict[str, str]], int]]
) -> tuple[Core, list[Verdict]]:
    """A core as an engine runs it: packets in batches, later than they came, and changes in between."""
    core, verdicts, now = Core(load_pipeline(specs), seed="a"), list[Verdict](), 0
    for number, packet in enumerate(packets, 1):
        core.receive(packet, packet.arrived)
        now = max(now, packet.arrived)
        if number % 3 == 0:
            verdicts += core.due(now)
        for after, (what, stage, options), later in acts:
            if after != number or (stage and stage not in core.names) or what == ("resume", "pause")[core.is_paused]:
                continue
            now += later
            if what == "replace":
                core.replace(load_pipeline(options), now, tuple(options))
            elif what == "change":
                values = parse_options(core.prototypes[core.names.index(stage)], options)
                core.change(stage, values, now, options)
            else:
                {"pause": core.pause, "resume": core.resume, "release": core.release}[what](now)
    while (deadline := core.next_deadline()) is not None:
        verdicts += core.due(deadline + 333)
    return core, verdicts + core.due(now)


@given(st.sampled_from(SPECS), traffic(), steps)
@examples(100)
def test_a_replay_decides_as_the_live_run_did(
    specs: list[str], packets: list[Packet], acts: list[tuple[int, tuple[str, str, dict[str, str]], int]]
) -> None:
    core, verdicts = live(specs, anew(packets), acts)
    again = Core(load_pipeline(specs), seed="a")
    repeated = list(play(again, anew(packets), prepare(core.changes, load_pipeline(specs), again.max_hold)))
    assert told(repeated) == told(verdicts)
    assert again.changes == core.changes


def test_the_command_repeats_the_changes_of_a_journal(tmp_path: Path) -> None:
    capture, out = tmp_path / "in.pcapng", tmp_path / "again"
    specs, clocks = ["delay:20ms", "loss:30%"], Clocks(5, 1_700_000_000_000_000_005)
    packets = [udp(number, number * ms) for number in range(1, 31)]
    acts = [
        (5, ("change", "delay", {"time": "3ms"}), 17),
        (9, ("pause", "", {}), 1),
        (12, ("resume", "", {}), 2),
        (15, ("release", "", {}), 3),
        (20, ("replace", "", {"delay:7ms": "", "duplicate:50%": ""}), 500),
        (30, ("change", "delay", {"time": "1ms"}), 300 * ms),
    ]
    core, verdicts = live(specs, packets, acts)
    assert len(core.changes) == 6
    with CaptureWriter(capture, offset=clocks.realtime - clocks.monotonic) as writer:
        for packet in packets:
            writer.arrived(packet)
    text = io.StringIO()
    journal = Journal(text, policies=specs, seed="a", clocks=clocks)
    for change in core.changes:
        journal.changed(change)
    for verdict in verdicts:
        journal.record(verdict)
    file = tmp_path / "journal"
    file.write_text(text.getvalue())
    policies = [word for spec in specs for word in ("--policy", spec)]
    command = ["replay", str(capture), *policies, "--seed", "a", "--changes", str(file), "--journal", str(out)]
    assert main(command) == 0
    ahead = clocks.realtime - clocks.monotonic
    assert read_changes(out) == [change._replace(at=change.at + ahead) for change in core.changes]
    decided = [(record.id, record.fate, record.planned, record.held) for record in read_journal(out)[1]]
    assert decided == [
        (record.id, record.fate, record.planned + ahead, record.held) for record in read_journal(file)[1]
    ]
    for line in out.read_text().splitlines():
        schema("journal").validate(json.loads(line))
    assert main([*command, "--timeline"]) == 2
