"""The journal: what is written can be read again, and is what the schema says."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaper.core.change import Change
from shaper.core.core import Core
from shaper.core.verdict import Fate, Verdict
from shaper.journal import Clocks, Held, Journal, JournalError, Record, read_journal
from shaper.policy.base import Policy
from shaper.units import ms
from shaper.wire.flow import Flow
from shaper.wire.packet import Packet
from tests.schema import schema

SYN = bytes.fromhex("4500002800010000400600007f0000017f0000019c40223d000003e8000000005002200000000000")
UDP = bytes.fromhex("4500001e00010000401100007f0000017f00000100010002000a00006162")


SCHEMA = schema("journal")


def written(*verdicts: Verdict) -> str:
    file = io.StringIO()
    journal = Journal(file, policies=["delay:20ms"], seed=7, clocks=Clocks(5, 1_700_000_000_000_000_005))
    for verdict in verdicts:
        journal.record(verdict)
    return file.getvalue()


def verdict_of(raw: bytes, *holds: tuple[str, int], fate: Fate = "sent") -> Verdict:
    core = Core([Policy()])
    core.receive(Packet(raw, 3, 1_000), 1_000)
    (verdict,) = core.due(1_000)
    for policy, ns in holds:
        verdict.packet.note_hold(policy, ns)
    return Verdict(verdict.packet, fate, 2_000)


def test_a_record_says_what_happened(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    file.write_text(written(verdict_of(SYN, ("delay", 20 * ms), ("spread_burst", 5))))
    header, records = read_journal(file)
    assert header.policies == ("delay:20ms",)
    assert header.seed == "7"
    assert header.clocks == (5, 1_700_000_000_000_000_005)
    assert records == [
        Record(
            id=3,
            flow=Flow("tcp", "127.0.0.1", 40000, "127.0.0.1", 8765),
            kind="syn",
            flags="S",
            seq=1000,
            ack=0,
            length=40,
            arrived=1_000,
            taken=1_000,
            fate="sent",
            planned=2_000,
            begin=2_000,
            end=2_000,
            tid=0,
            held=(Held("delay", 20 * ms), Held("spread_burst", 5)),
        )
    ]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (Change(7, 3, "replace", ("delay:1ms",)), {"change": "replace", "policies": ["delay:1ms"]}),
        (
            Change(7, 3, "change", stage="delay#2", options={"time": "50ms"}),
            {"change": "change", "stage": "delay#2", "options": {"time": "50ms"}},
        ),
        (Change(7, 3, "pause"), {"change": "pause"}),
        (Change(7, 3, "resume"), {"change": "resume"}),
        (Change(7, 3, "release"), {"change": "release"}),
    ],
    ids=lambda value: value.what if isinstance(value, Change) else "",
)
def test_each_kind_of_change_has_its_line(change: Change, line: dict[str, object]) -> None:
    file = io.StringIO()
    Journal(file, policies=[], seed=0).changed(change)
    written = json.loads(file.getvalue().splitlines()[1])
    assert written == {"v": 1, "at_ns": 7, "taken": 3, **line}
    SCHEMA.validate(written)
    for name in line.keys() - {"change"}:
        del written[name]
        assert not SCHEMA.is_valid(written)


def test_a_live_verdict_has_the_times_and_the_thread_of_its_write(tmp_path: Path) -> None:
    out = io.StringIO()
    journal = Journal(out, policies=[], seed=0, paired=True)
    journal.record(verdict_of(UDP), begin=2_100, end=2_200, tid=42)
    file = tmp_path / "journal"
    file.write_text(out.getvalue())
    header, (record,) = read_journal(file)
    assert json.loads(out.getvalue().splitlines()[0])["paired"]
    assert header.clocks.realtime > header.clocks.monotonic > 0
    assert (record.planned, record.begin, record.end, record.tid) == (2_000, 2_100, 2_200, 42)
    assert (record.kind, record.flags, record.seq, record.ack) == ("udp", "", None, None)


@settings(deadline=None)
@given(
    raw=st.one_of(st.sampled_from([SYN, UDP]), st.binary(max_size=60)),
    holds=st.lists(st.tuples(st.text(), st.integers(0, 10**12)), max_size=3),
    fate=st.sampled_from(["sent", "dropped", "injected"]),
)
def test_every_line_is_as_the_schema_says(raw: bytes, holds: list[tuple[str, int]], fate: Fate) -> None:
    lines = [json.loads(line) for line in written(verdict_of(raw, *holds, fate=fate)).splitlines()]
    assert len(lines) == 2
    for line in lines:
        SCHEMA.validate(line)


@settings(deadline=None)
@given(raw=st.one_of(st.sampled_from([SYN, UDP]), st.binary(max_size=60)))
def test_the_flow_of_any_packet_can_be_read_again(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("flow") / "journal"
    file.write_text(written(verdict_of(raw)))
    _, (record,) = read_journal(file)
    assert record.flow == Packet(raw).flow


def test_the_schema_refuses_what_is_no_record() -> None:
    line = json.loads(written(verdict_of(SYN)).splitlines()[1])
    for broken in ({**line, "fate": "lost"}, {**line, "extra": 1}, {**line, "arrived_ns": 1.5}):
        assert not SCHEMA.is_valid(broken)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", ":1: not a line of a shaper journal"),
        ("[]\n", ":1: not a line of a shaper journal (is no object)"),
        ('{"v": 2}\n', ":1: version 2 of the journal; this shaper reads 1"),
        (written() + '{"v": 1}\n', ":2: not a line of a shaper journal (lacks 'id')"),
        (
            written(verdict_of(SYN)).replace("tcp 127", "tcp127"),
            ":2: not a line of a shaper journal ('tcp127.0.0.1:40000 > 127.0.0.1:8765' is no flow",
        ),
        (
            written(verdict_of(SYN)).replace('"tid":0', '"tid":null'),
            ":2: not a line of a shaper journal (tid is no whole number of 64 bits)",
        ),
        (
            written(verdict_of(SYN)).replace('"class":"syn"', '"class":7'),
            ":2: not a line of a shaper journal (class is no text)",
        ),
        (
            written(verdict_of(SYN)).replace("tcp 127", "tc>p 127"),
            ":2: not a line of a shaper journal ('tc>p 127.0.0.1:40000 > 127.0.0.1:8765' is no flow",
        ),
        (written(verdict_of(SYN))[:-20], ":2: not a whole line of JSON; was the journal cut off there?"),
    ],
)
def test_what_is_no_journal_gives_one_line_that_names_the_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "journal"
    file.write_text(text)
    with pytest.raises(JournalError) as error:
        read_journal(file)
    assert str(error.value).startswith(f"{file}{complaint}")
    assert "\n" not in str(error.value)
