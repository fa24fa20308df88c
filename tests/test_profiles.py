"""Profiles: the built-in ones do what they say, and mistakes are reported with their line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

import pytest

from shaper import Packet, ms, s, us
from shaper.cli import main
from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.core.virtual import play
from shaper.journal import read_journal
from shaper.spec.load import load_pipeline
from shaper.spec.profiles import ProfileError, find, names, read
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from tests.captures import EPOCH, UDP, pcap
from tests.schema import schema

CLIENT = Ends("192.0.2.1", 40000, "192.0.2.9", 80)
SIZE = 1500
HEADERS = 28


class Link(NamedTuple):
    """What one direction should do: bit/s (None: as fast as it comes), ns, bytes in its queue."""

    rate: int | None
    delay: int | None
    queue: int | None = 75_000


EXPECTED = {
    "3g": (Link(768_000, 150 * ms), Link(1_600_000, 150 * ms)),
    "lte": (Link(12_000_000, 35 * ms), Link(12_000_000, 35 * ms)),
    "5g": (Link(11_120_000, 15_500 * us, 43 << 10), Link(111_070_000, 15_500 * us, 421 << 10)),
    "train_tunnel": (Link(12_000_000, 35 * ms), Link(12_000_000, 35 * ms)),
    "failing_dsl": (Link(10_000_000, 25 * ms), Link(44_998_000, 25 * ms)),
    "dsl": (Link(384_000, 25 * ms), Link(1_500_000, 25 * ms)),
    "cable": (Link(1_000_000, 14 * ms), Link(5_000_000, 14 * ms)),
    "satellite_geo": (Link(10_000_000, 279 * ms, 682 << 10), Link(100_000_000, 279 * ms, 6812 << 10)),
    "satellite_leo": (Link(7_200_000, 24 * ms, 43 << 10), Link(62_500_000, 24 * ms, 367 << 10)),
    "cafe_wifi": (Link(8_700_000, 0), Link(24_900_000, None)),
    "transatlantic": (Link(None, 32_500 * us, None), Link(None, 32_500 * us, None)),
    "incast": (Link(1_000_000_000, 112 * us, 150_000), Link(1_000_000_000, 112 * us, 150_000)),
}
"""The links up, from the side that opens connections, and down."""
DIRECTIONS = [(name, direction) for name in EXPECTED for direction in (0, 1)]
CONSTANT = [(name, direction) for name, direction in DIRECTIONS if EXPECTED[name][direction].delay is not None]
LIMITED = [(name, direction) for name, direction in DIRECTIONS if EXPECTED[name][direction].rate is not None]


def through(name: str, times: list[int], direction: int, size: int = SIZE) -> list[Verdict]:
    """The verdicts on packets of this size at these times; before them the client has opened the flow."""
    core = Core(load_pipeline(find(name).pipeline), seed=find(name).seed or 0)
    opening = Packet(bytes_of(PacketSpec("udp", 0), CLIENT, 0), id=0, arrived=0)
    raw = bytes_of(PacketSpec("udp", size - HEADERS), CLIENT.reverse if direction else CLIENT, 1)
    verdicts = []
    for packet in [opening, *(Packet(raw, id=number, arrived=10 * s + at) for number, at in enumerate(times, 1))]:
        core.receive(packet, packet.arrived)
        verdicts += core.due(packet.arrived)
    while (deadline := core.next_deadline()) is not None:
        verdicts += core.due(deadline)
    assert core.failures == []
    assert core.counts.cut_short == 0
    return sorted((verdict for verdict in verdicts if verdict.packet.root.id), key=lambda one: one.packet.root.id)


def holds(verdicts: list[Verdict]) -> list[int]:
    return [verdict.planned - verdict.packet.root.arrived for verdict in verdicts]


def test_each_is_tested() -> None:
    assert set(EXPECTED) == set(names())


@pytest.mark.parametrize(("name", "direction"), CONSTANT)
def test_one_way_delay(name: str, direction: int) -> None:
    """A packet alone on the way takes the time to be sent, and the way's."""
    link = EXPECTED[name][direction]
    assert link.delay is not None
    sending = SIZE * 8 * s // link.rate if link.rate else 0
    assert holds(through(name, [number * s for number in range(5)], direction)) == [sending + link.delay] * 5


def test_the_delay_in_a_cafe_has_the_measured_percentiles() -> None:
    times = through("cafe_wifi", [number * s for number in range(10_000)], 1, size=HEADERS)
    percentiles = quantiles(holds(times), n=100)
    assert percentiles[49] == pytest.approx(3 * ms, rel=0.05)
    assert percentiles[89] == pytest.approx(20 * ms, rel=0.05)


@pytest.mark.parametrize(("name", "direction"), LIMITED)
def test_rate(name: str, direction: int) -> None:
    """When packets come twice as fast, they leave at the link's rate."""
    link = EXPECTED[name][direction]
    assert link.rate is not None
    gap = SIZE * 8 * s // link.rate // 2
    times = sorted(
        verdict.planned
        for verdict in through(name, [gap * n for n in range(1000)], direction)
        if verdict.fate == "sent"
    )
    measured = (len(times) - 1) * SIZE * 8 * s / (times[-1] - times[0])
    # In the café the delay of first and last packet differ, by 65 ms at most.
    assert measured == pytest.approx(link.rate, rel=1e-4 if link.delay is not None else 0.2)


@pytest.mark.parametrize(("name", "direction"), DIRECTIONS)
def test_queue(name: str, direction: int) -> None:
    """Of a burst so much is sent as the queue holds; the tail is dropped."""
    link = EXPECTED[name][direction]
    fits = link.queue // SIZE if link.queue else 5000
    fates = [verdict.fate for verdict in through(name, [0] * (fits + 10), direction)]
    assert fates == ["sent"] * fits + ["dropped" if link.queue else "sent"] * 10


@pytest.mark.parametrize("name", names())
def test_each_has_its_source_and_date(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    profile = find(name)
    assert profile.about
    assert profile.source
    assert profile.date
    assert main(["profiles", name]) == 0
    page = capsys.readouterr().out
    phases = profile.scenario.phases if profile.scenario else ()
    assert all(spec in page for spec in profile.pipeline)
    assert all(spec in page for phase in phases for spec in phase.specs)
    assert f"shaper run --profile {name}" in page
    assert max(len(line) for line in page.splitlines()) <= 80


def test_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out for name in names())
    assert max(len(line) for line in out.splitlines()) <= 80


def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    schema("profiles").validate(document)
    assert [profile["name"] for profile in document["profiles"]] == names()


# Files.

MOBILE = """\
about = "A train"
date = 2024-05-31
seed = 7
pipeline = [
    "delay:40ms",
    'netem:"loss 1%"',
]

[match]
protocol = "tcp"
port = 80
filter = "tcp[tcpflags] & tcp-syn == 0"
"""


def test_a_file() -> None:
    profile = read(MOBILE, "dir/train.toml")
    assert profile.name == "train"
    assert profile.pipeline == ("delay:40ms", 'netem:"loss 1%"')
    assert (profile.date, profile.seed) == ("2024-05-31", "7")
    assert profile.match == {"protocol": "tcp", "port": [80], "filter": "tcp[tcpflags] & tcp-syn == 0"}


@pytest.mark.parametrize(
    ("wrong", "instead", "message"),
    [
        ("seed = 7", "seed 7", "t.toml:3: Expected '=' after a key in a key/value pair"),
        ('"delay:40ms",', '"delay:40ms', "t.toml:5: Illegal character"),
        ("seed = 7", "seeds = 7", "t.toml:3: a profile has no 'seeds' (did you mean 'seed'?); it has about, "),
        ("seed = 7", "seed = true", "t.toml:3: a seed is a number or a text"),
        ('"A train"', "3", "t.toml:1: about is a text, in quotes"),
        ("2024-05-31", '"spring"', "t.toml:2: 'spring' is not a date, such as 2024-05-31"),
        ("delay:40ms", "dely:40ms", "t.toml:5: there is no policy 'dely' (did you mean 'delay'?)"),
        ("delay:40ms", "delay:40", "t.toml:5: delay: option time: '40' needs a unit of time"),
        ("loss 1%", "lsos 1%", "t.toml:6: netem has no option 'lsos' (did you mean 'loss'?)"),
        ("protocol =", "protcol =", "t.toml:10: [match] has no 'protcol' (did you mean 'protocol'?)"),
        ('"tcp"', '"sctp"', "t.toml:10: 'sctp' is none of tcp, udp, icmp, all"),
        ("port = 80", "port = 80000", "t.toml:11: 80000 is not a port; ports are 1 to 65535"),
        ("port = 80", 'port = "nothing"', "t.toml:11: 'nothing' is not a port; write a number, such as 80, or a name"),
        ("port = 80", "port = true", "t.toml:11: a port is a number or a name, or a list of these"),
        ("port = 80", "port = []", "t.toml:11: a port is a number or a name, or a list of these"),
        ("port = 80", 'source = "here"', "t.toml:11: 'here' is not an IP address or network"),
        ("port = 80", "source = 9", "t.toml:11: source is a text, in quotes"),
        ("port = 80", 'hook = ["input", "out"]', "t.toml:11: 'out' is none of input, output, forward"),
        ("port = 80", "hook = 3", "t.toml:11: a hook is a text, in quotes, or a list of these"),
        ("port = 80", 'interface = "eth 0"', "t.toml:11: 'eth 0' is not the name of an interface, such as eth0"),
        ("pipeline = [", "other = [", "t.toml:4: a profile has no 'other'"),
        ("[match]", "[macht]", "t.toml:9: a profile has no 'macht' (did you mean 'match'?)"),
    ],
)
def test_a_mistake_is_reported_with_file_and_line(wrong: str, instead: str, message: str) -> None:
    assert wrong in MOBILE
    with pytest.raises(ProfileError) as error:
        read(MOBILE.replace(wrong, instead), "t.toml")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.toml:1: there is no pipeline"),
        ("pipeline = []", "t.toml:1: a pipeline is a list"),
        ("\npipeline = 3", "t.toml:2: a pipeline is a list"),
        ('pipeline = ["delay"]\nmatch = 3', "t.toml:2: match is a table"),
        ('pipeline = ["delay"', "t.toml:1: Unclosed array"),
    ],
)
def test_a_short_file(text: str, message: str) -> None:
    with pytest.raises(ProfileError) as error:
        read(text, "t.toml")
    assert str(error.value).startswith(message)


# On the command line.


@pytest.fixture
def capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.pcap").write_bytes(pcap([(EPOCH, UDP), (EPOCH + 1 * s, UDP)]))
    return "in.pcap"


def replayed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["replay", *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def test_replay_takes_pipeline_and_seed(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.toml").write_text('pipeline = ["delay:40ms"]\nseed = "train"\n')
    document = replayed(capsys, capture, "--profile", "train.toml")
    assert (document["policies"], document["seed"]) == (["delay:40ms"], "train")


def test_the_command_line_comes_after_it_and_wins(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.toml").write_text('pipeline = ["delay:40ms"]\nseed = "train"\n[match]\nfilter = "udp port 9"\n')
    given = ("--seed", "mine", "--filter", "udp")
    document = replayed(capsys, capture, *given, "--policy", "loss:0%", "--profile", "train.toml")
    assert (document["policies"], document["seed"]) == (["delay:40ms", "loss:0%"], "mine")
    assert document["taken"] == 2


def test_lists_of_a_match() -> None:
    match = read('pipeline = ["delay"]\n[match]\ninterface = "eth0,eth1"\nhook = ["input", "output"]\n', "t.toml").match
    assert match == {"interface": ["eth0", "eth1"], "hook": ["input", "output"]}


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        ('filter = "udp port 9"', 0),
        ('protocol = "udp"', 2),
        ('protocol = "tcp"', 0),
        ('protocol = "icmp"', 0),
        ("port = 2", 2),
        ("port = [7, 9]", 0),
        ('source = "127.0.0.0/8"', 2),
        ('destination = "10.0.0.1"', 0),
        ('host = "127.0.0.1"', 2),
        ('host = "10.0.0.0/8"', 0),
        ('interface = "eth0"\nhook = "output"', 2),
    ],
)
def test_replay_takes_what_the_profile_matches(
    match: str, taken: int, capture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("train.toml").write_text(f'pipeline = ["delay"]\n[match]\n{match}\n')
    assert replayed(capsys, capture, "--profile", "train.toml")["taken"] == taken


def test_one_of_both_is_needed(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["start"], ["run", "--", "true"], ["replay", capture]):
        assert main(command) == 2
        assert "Missing option '--policy' or '--profile'; see `shaper " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ltee", "there is no profile 'ltee' (did you mean 'lte'?)"),
        ("nowhere.toml", "there is no file nowhere.toml"),
        ("binary.toml", "binary.toml is not in UTF-8"),
    ],
)
def test_a_profile_that_can_t_be_used(
    name: str, message: str, capture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("binary.toml").write_bytes(b"\xff\x00")
    for command in (["profiles", name], ["replay", capture, "--profile", name]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


PHASES = """\
repeat = true

[[phase]]
for = "1s"
policies = ["delay:10ms"]

[[phase]]
for = "500ms"
policies = ["delay:20ms", "loss:0%"]
"""


def test_phases_follow_each_other() -> None:
    scenario = read(PHASES, "tunnel.toml").scenario
    assert scenario is not None
    first = [(each.after, each.specs) for each, _ in zip(scenario.then(s), range(3), strict=False)]
    twenty = ("delay:20ms", "loss:0%")
    assert first == [(1 * s, twenty), (1500 * ms, ("delay:10ms",)), (2500 * ms, twenty)]
    assert [policy.name for policy in scenario.policies(s)] == ["delay", "delay", "loss"]


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("train_tunnel", [*range(120, 143), *range(263, 285)]),  # 120 to 142.5 s, and 262.5 to 285 s
        ("failing_dsl", range(161, 263)),
    ],
)
def test_nothing_passes_while_the_link_is_gone(name: str, gone: Sequence[int]) -> None:
    profile = find(name)
    assert profile.scenario is not None
    core = Core(load_pipeline(profile.pipeline), seed=profile.seed or 0, then=profile.scenario.then(10 * s))
    times = [nth * s for nth in range(290)]
    raw = bytes_of(PacketSpec("udp", 100), CLIENT, 1)
    verdicts = list(play(core, [Packet(raw, number, at) for number, at in enumerate(times, 1)]))
    lost = [verdict.planned // s for verdict in verdicts if verdict.fate == "dropped"]
    assert lost == list(gone)


def test_the_last_phase_stays() -> None:
    text = PHASES.replace("repeat = true", "").replace('for = "500ms"', "")
    scenario = read(text, "tunnel.toml").scenario
    assert scenario is not None
    assert [each.after for each in scenario.then(s)] == [1 * s]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('for = "1s"', "", "t.toml:3: phase 1 does not say how long it lasts; write for = "),
        ('for = "1s"', 'for = "soon"', "t.toml:4: 'soon' does not start with a number"),
        ('for = "1s"', 'for = "1us"', "t.toml:4: a phase lasts at least 1ms"),
        ("repeat = true", "repeat = 3", "t.toml:1: repeat is true or false"),
        ("repeat = true", "repeat = false", "t.toml:8: the last phase stays; leave out its `for`, or write repeat"),
        ("repeat = true", 'pipeline = ["delay"]', "t.toml:1: a profile has a pipeline or phases, not both"),
        ('policies = ["delay:10ms"]', "", "t.toml:3: phase 1 has no policies; write policies = "),
        ('["delay:10ms"]', "[]", "t.toml:5: a pipeline is a list of policies"),
        ('["delay:20ms", "loss:0%"]', "3", "t.toml:9: a pipeline is a list of policies"),
        ('for = "500ms"', "", "t.toml:7: phase 2 does not say how long it lasts"),
        ('for = "500ms"', 'for = "0s"', "t.toml:8: a phase lasts at least 1ms"),
        ('"delay:20ms"', '"dely:20ms"', "t.toml:9: there is no policy 'dely' (did you mean 'delay'?)"),
        ('policies = ["delay:10ms"]', 'pipeline = ["delay"]', "t.toml:5: [phase] has no 'pipeline'"),
    ],
)
def test_mistakes_in_phases_have_a_line(old: str, new: str, message: str) -> None:
    with pytest.raises(ProfileError) as raised:
        read(PHASES.replace(old, new, 1), "t.toml")
    assert str(raised.value).startswith(message)


def test_only_phases_repeat() -> None:
    with pytest.raises(ProfileError, match=r"^t\.toml:2: only phases repeat"):
        read('pipeline = ["delay"]\nrepeat = true\n', "t.toml")


def test_a_replay_goes_through_the_phases(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    profile, capture, journal = tmp_path / "tunnel.toml", tmp_path / "in.pcap", tmp_path / "journal.jsonl"
    profile.write_text(PHASES)
    capture.write_bytes(pcap([(EPOCH + nth * 400 * ms, UDP) for nth in range(6)]))
    assert main(["replay", str(capture), "--profile", str(profile), "--journal", str(journal)]) == 0
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        schema("journal").validate(line)
    holds = [line["planned_ns"] - line["arrived_ns"] for line in lines if "id" in line]
    assert holds == [10 * ms, 10 * ms, 10 * ms, 20 * ms, 10 * ms, 10 * ms]  # at 0, 0.4, 0.8, 1.2, 1.6, 2 s
    changes = [(line["policies"], line["at_ns"] - EPOCH, line["taken"]) for line in lines if "change" in line]
    assert changes[:2] == [(["delay:20ms", "loss:0%"], 1 * s, 3), (["delay:10ms"], 1500 * ms, 4)]
    _, records = read_journal(journal)
    assert len(records) == 6
    assert main(["replay", str(capture), "--profile", str(profile), "--timeline"]) == 2
    assert "--timeline writes a story of one pipeline" in capsys.readouterr().err
