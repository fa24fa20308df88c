"""The notation of timelines: what it can say, what it refuses, and that what is written reads back the same."""

from collections.abc import Iterator

import pytest
from hypothesis import assume, given

from shaper import Packet, Policy, Send, ms
from shaper.core import virtual
from shaper.core.core import Core
from shaper.spec.load import LoadError, load
from shaper.timeline import Story, StoryError, StoryWriter, check, draw, parse, run, stories_of, write
from shaper.timeline.dialogue import Dialogue
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of, ends_of, spec_of
from shaper.timeline.story import offset
from shaper.wire.header import ACK, RST
from tests.any_options import play
from tests.examples import examples
from tests.traffic import anew, traffic


def story(text: str) -> Story:
    [only] = parse(text)
    return only


def segments(text: str) -> list[Packet]:
    return list(run(story(f"# pass_through\n{text}")).packets)


def test_a_story_reads() -> None:
    told = story(
        "# delay time=10ms | spread_burst gap=1ms seed=7 max_hold=2s\n"
        "# a remark\n"
        "flow 2  192.0.2.7:1234 > 192.0.2.8:80\n"
        "+0     < a b:flow=2     two packets\n"
        "+.010  > a b\n"
    )
    assert told.specs == ("delay:time=10ms", "spread_burst:gap=1ms")
    assert (told.seed, told.max_hold) == ("7", 2000 * ms)
    assert told.flows == ((2, "192.0.2.7:1234", "192.0.2.8:80"),)
    assert [(event.at, event.kind, [str(m) for m in event.mentions]) for event in told.events] == [
        (0, "<", ["a", "b:flow=2"]),
        (10 * ms, ">", ["a", "b"]),
    ]
    assert told.events[0].comment == "two packets"
    assert str(story(str(told))) == str(told)
    assert check(told) is None


def test_offsets_are_exact() -> None:
    assert story("# delay\n+.000000001 < a\n+1.5 < b\n").events[1].at == 1_500_000_001
    assert [offset(time) for time in (0, 1, 10 * ms, 1500 * ms, 2000 * ms)] == [
        "+0",
        "+.000000001",
        "+.010",
        "+1.500",
        "+2",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("+0 < a\n", "line 1: a story begins with '# '"),
        ("# delay\n0 < a\n", "line 2: '0 < a' is not"),
        ("# delay\n+0 ? a\n", "line 2"),
        ("# delay\n+.0000000001 < a\n", "not a whole number of nanoseconds"),
        ("# delay |\n+0 < a\n", "names no policy"),
        ("# delay '\n+0 < a\n", "a quote is not closed"),
        ("# delay\n+0 < a:\n", "is not a packet"),
        ("# delay\n+0 < a:sin\n", "there is no word 'sin'"),
        ("# delay\n+0 < a:seq=x\n", "'seq=x' is not WORD=N"),
        ("# delay\n+0 < a\n+0 < a\n", "packet a arrives a second time"),
        ("# delay\nflow 1  nowhere > 192.0.2.1\n+0 < a\n", "'nowhere' is not ADDRESS"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(StoryError) as error:
        run(story(text))
    assert message in str(error.value)


def test_an_unknown_policy() -> None:
    with pytest.raises(LoadError, match="there is no policy 'delai'"):
        run(story("# delai\n+0 < a\n"))


def test_sequence_numbers_follow_by_themselves() -> None:
    packets = segments("+0 < s:syn sa:synack,reply k:ack d:data=6 e:reply,ack f:fin g:ack=8,reply")
    assert [packet.kind for packet in packets] == [
        "syn",
        "synack",
        "handshake-ack",
        "data",
        "pure-ack",
        "fin",
        "pure-ack",
    ]
    numbers = [(packet.tcp.seq, packet.tcp.ack, packet.tcp.payload) for packet in packets if packet.tcp]
    assert numbers == [(0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 1, 6), (1, 7, 0), (7, 1, 0), (1, 8, 0)]


def test_words_make_the_packets_they_name() -> None:
    udp, icmp, six, sack, window, told = segments("+0 < a:udp=50 b:icmp c:v6,data=10 d:sack e:win=500 f:text=hello,psh")
    assert (udp.kind, udp.length) == ("udp", 78)
    assert icmp.kind == "icmp"
    assert (six.ip.version, six.length) == (6, 70)
    assert sack.tcp is not None
    assert sack.tcp.sack
    assert window.tcp is not None
    assert window.tcp.window == 500
    assert told.raw.endswith(b"hello")
    assert told.scapy().sprintf("%TCP.flags%") == "PA"


def test_a_difference_is_shown() -> None:
    wrong = check(story("# delay time=10ms\n+0 < a\n+.011 > a\n"))
    assert wrong is not None
    assert "- +.011    > a" in wrong
    assert "+ +.010    > a" in wrong


class Rewrite(Policy):
    """Shrinks windows, and adds a reset after each FIN.

    # tests.test_timeline:Rewrite
    +0     < a f:fin
    +0     > a:win=0 f:win=0 r:rst,seq=1,ack=1

    Prose between stories.

    # tests.test_timeline:Rewrite
    +0     < u:udp
    +0     > u
    """

    def on_packet(self, packet: Packet, now: int) -> list[Send] | None:
        if packet.tcp is None:
            return None
        at = packet.ip.transport
        shrunk = packet.with_raw(packet.raw[: at + 14] + bytes(2) + packet.raw[at + 16 :])
        if packet.kind != "fin":
            return [Send(shrunk)]
        reset = PacketSpec("tcp", 0, RST | ACK, seq=1, ack=1)
        return [Send(shrunk), Send(Packet(bytes_of(reset, ends_of(packet.raw), 9)))]


class Flip(Policy):
    """Flips a bit of the payload, and leaves the checksum wrong.

    # tests.test_timeline:Flip
    +0     < a
    +0     > a:changed,badsum a
    """

    def on_packet(self, packet: Packet, now: int) -> list[Send]:
        flipped = packet.raw[:-1] + bytes((packet.raw[-1] ^ 1,))
        return [Send(packet.with_raw(flipped, fix=False)), Send(packet.copy())]


STORIES: dict[type[Policy], int] = {Rewrite: 2, Flip: 1}


@pytest.mark.parametrize("policy", STORIES)
def test_words_for_what_policies_change_and_add(policy: type[Policy]) -> None:
    assert [check(told) for told in stories_of(policy)] == [None] * STORIES[policy]


def test_stories_in_docstrings() -> None:
    assert [str(told.events[0].mentions[0]) for told in stories_of(Rewrite)] == ["a", "u:udp"]


@given(packets=traffic())
@examples(30)
def test_a_story_written_from_any_traffic_runs_again(packets: list[Packet]) -> None:
    """Packets made from it have the classes, lengths and fates of the real ones."""
    whole = [packet for packet in anew(packets) if packet.ip.version and not packet.truncated]
    assume(whole)
    spec = "spread_burst:gap=5ms,only=data+udp+pure-ack"
    _, verdicts = play(load(spec), whole)
    written = write([spec], whole, verdicts)
    again = story(str(written))
    assert check(again) is None
    assert [packet.kind for packet in run(again).packets] == [packet.kind for packet in whole]
    assert [packet.length for packet in run(again).packets] == [packet.length for packet in whole]


@given(packets=traffic())
@examples(30)
def test_a_picture_of_any_traffic_fits(packets: list[Packet]) -> None:
    whole = [packet for packet in anew(packets) if packet.ip.version and not packet.truncated]
    _, verdicts = play(load("delay"), whole)
    assert all(len(line) <= 80 for line in draw(write(["delay"], whole, verdicts)).splitlines())


def test_a_story_is_written_while_it_happens() -> None:
    text: list[str] = []
    seen: list[int] = []
    writer = StoryWriter(["delay:time=5ms"], text.append)
    raw = segments("+0 < u:udp")[0].raw

    def arrivals() -> Iterator[Packet]:
        for number in range(1, 3001):
            seen.append(len(text))
            yield Packet(raw, number, number * ms)

    for verdict in virtual.play(Core([load("delay:time=5ms")]), writer.beside(arrivals())):
        writer.verdict(verdict)
    assert seen[0] == 0
    assert seen[-1] >= 4
    writer.close()
    [told] = parse("\n".join(text))
    assert len(told.events) == 6000
    assert check(told) is None


def test_numbers_of_a_capture_are_relative() -> None:
    dialogue, ends = Dialogue(), Ends("192.0.2.1", 1, "192.0.2.2", 2)

    syn = bytes_of(PacketSpec("tcp", 0, 2, seq=4294967295), ends, 1)
    data = bytes_of(PacketSpec("tcp", 10, 16, seq=0, ack=77), ends, 2)
    assert dialogue.describe(syn, 1) == ["syn"]
    assert dialogue.describe(data, 1) == ["data=10"]
    assert spec_of(data).seq == 0
