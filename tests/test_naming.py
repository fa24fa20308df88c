"""The names of packets: the same in every run, whatever port the client got, live, in replay and from a journal."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given

from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.journal import Clocks, Journal, Record, names_of, read_journal
from shaper.timeline import parse
from shaper.timeline.run import run
from shaper.timeline.write import write
from shaper.wire.naming import MOST_SEGMENTS, Namer, PacketName
from shaper.wire.packet import Packet
from tests.test_policies import is_odd_opening
from tests.traffic import anew, openings, traffic

STORY = """
# pass_through
+0     < {}
+0     > {}
"""


def names(mentions: str) -> list[str]:
    """The names of these packets of a story, which arrive in this order."""
    words = mentions.split()
    text = STORY.format(mentions, " ".join(word.partition(":")[0] for word in words))
    namer = Namer()
    return [str(namer.packet(packet)) for packet in run(parse(text)[0]).packets]


def test_a_connection_from_its_syn_to_its_fin() -> None:
    assert names("s:syn t:synack,reply k:ack q:data=5 l:ack,reply d:data=7,reply e:data=7,reply f:fin g:fin,reply") == [
        "tcp/80 #1 original syn 1",
        "tcp/80 #1 reply synack 1",
        "tcp/80 #1 original handshake-ack 1",
        "tcp/80 #1 original data 1",
        "tcp/80 #1 reply pure-ack 1",
        "tcp/80 #1 reply data 1",
        "tcp/80 #1 reply data 2",
        "tcp/80 #1 original fin 1",
        "tcp/80 #1 reply fin 1",
    ]


def test_connections_to_a_service_are_counted() -> None:
    assert names("a:syn b:syn,flow=2 c:udp d:udp,flow=2,reply e:syn,flow=3,v6") == [
        "tcp/80 #1 original syn 1",
        "tcp/80 #2 original syn 1",
        "udp/80 #1 original udp 1",
        "udp/40002 #1 original udp 1",  # the first packet seen decides who opened it
        "tcp/80 #3 original syn 1",
    ]


def test_a_retransmission_is_the_same_packet_again() -> None:
    sent = names("a:syn b:syn,seq=0 c:data=5 d:data=5 e:data=5,seq=1 f:data=5,seq=1 g:data=5 h:fin i:fin,seq=16")
    assert [name.removeprefix("tcp/80 #1 original ") for name in sent] == [
        "syn 1",
        "syn 1 again",
        "data 1",
        "data 2",
        "data 1 again",
        "data 1 again 2",
        "data 3",
        "fin 1",
        "fin 1 again",
    ]


def test_a_syn_with_another_number_opens_another_connection() -> None:
    assert names("a:syn b:data=5 c:syn,seq=900 d:synack,reply e:data=5,seq=901") == [
        "tcp/80 #1 original syn 1",
        "tcp/80 #1 original data 1",
        "tcp/80 #2 original syn 1",
        "tcp/80 #2 reply synack 1",
        "tcp/80 #2 original data 1",
    ]


def test_a_simultaneous_open_is_one_connection() -> None:
    assert names("a:syn b:syn,reply c:synack d:synack,reply")[1:3] == [
        "tcp/80 #1 reply syn 1",
        "tcp/80 #1 original synack 1",
    ]


def test_with_one_direction_alone_a_synack_shows_the_service() -> None:
    assert names("a:synack,reply b:data=5,reply c:synack,seq=900,reply") == [
        "tcp/80 #1 reply synack 1",
        "tcp/80 #1 reply data 1",
        "tcp/80 #2 reply synack 1",
    ]


def test_packets_without_ports() -> None:
    assert names("a:icmp=8,id=7 b:icmp=8,id=7,reply c:icmp=8,id=8 d:other=5") == [
        "icmp #1 original icmp 1",
        "icmp #1 reply icmp 1",
        "icmp #2 original icmp 1",
        "47 #1 original other 1",
    ]


def test_each_fragment_is_a_packet_of_its_datagrams_connection() -> None:
    found = names("a:udp b:fragment=600,id=9 c:fragment=600,id=9,offset=600 d:fragment=600,id=10,offset=600")
    assert found == [
        "udp/80 #1 original udp 1",
        "udp/80 #1 original udp 2",
        "udp/80 #1 original udp 3",
        "udp #1 original udp 1",
    ]


@given(traffic())
def test_a_name_stands_for_one_packet_and_can_be_read(packets: list[Packet]) -> None:
    core, namer = Core([]), Namer()
    found: list[PacketName] = []
    for packet in packets:
        core.receive(packet, packet.arrived)
        found += namer.both(packet)
    assert len(set(found)) == len(found)
    assert [PacketName.parse(str(name)) for name in found] == found


@given(traffic())
def test_the_names_are_the_same_in_journal_and_timeline_whatever_the_clients_port(packets: list[Packet]) -> None:
    found: list[list[str]] = []
    for moved in (0, 100):
        arrivals = anew(openings() + [each for each in packets if not is_odd_opening(each)], ports_moved_by=moved)
        core, namer = Core([]), Namer()
        verdicts: list[Verdict] = []
        named: list[str] = []
        for number, packet in enumerate(arrivals, 1):
            packet.id = number
            core.receive(packet, packet.arrived)
            verdicts += core.due(packet.arrived)
            named.append(str(namer.packet(packet)))
        assert [event.comment for event in write([], arrivals, verdicts).events if event.kind == "<"] == named
        assert [str(name) for name in names_of(journalled(verdicts))] == named
        found.append(named)
    assert found[0] == found[1]


def journalled(verdicts: list[Verdict]) -> list[Record]:
    """The records of these verdicts, written and read again."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        with path.open("w") as file:
            journal = Journal(file, policies=[], seed=0, clocks=Clocks(0, 0))
            for verdict in verdicts:
                journal.record(verdict)
        return read_journal(path)[1]


def test_packets_that_policies_make_have_no_name() -> None:
    outcome = run(parse("# duplicate:100%\n+0 < a\n+0 > a a\n")[0])
    assert [str(name) for name in names_of(journalled(list(outcome.verdicts)))] == ["tcp/80 #1 original data 1", "None"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("tcp/8080 #1 reply data", "is not [SERVICE] #CONNECTION DIRECTION KIND NTH"),
        ("http #1 reply data 1", "'http' is no service"),
        ("tcp/x #1 reply data 1", "'tcp/x' is no service"),
        ("tcp/70000 #1 reply data 1", "'tcp/70000' is no service"),
        ("300 #1 reply data 1", "'300' is no service"),
        ("#0 reply data 1", "'0' is no number from 1 on"),
        ("#x reply data 1", "'x' is no number from 1 on"),
        ("#1 back data 1", "'back' is none of original, reply"),
        ("#1 reply dat 1", "'dat' is no segment class (syn, "),
        ("#1 reply data 0", "'0' is no number from 1 on"),
        ("#1 reply data 1 more", "'more' is not 'again'"),
        ("#1 reply data 1 again x", "'x' is no number from 1 on"),
    ],
)
def test_what_is_no_name_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)):
        PacketName.parse(text)


def test_names_without_a_service_count_all_connections() -> None:
    namer = Namer()
    story = parse(STORY.format("a:syn b:udp,flow=2", "a b"))[0]
    assert [str(namer.both(packet)[1]) for packet in run(story).packets] == ["#1 original syn 1", "#2 original udp 1"]


def test_only_the_latest_segments_of_a_flow_are_remembered() -> None:
    namer = Namer()
    flow = Packet(run(parse(STORY.format("a", "a"))[0]).packets[0].raw).flow
    for seq in range(MOST_SEGMENTS + 1):
        namer.names(flow, "data", seq)
    assert [namer.names(flow, "data", seq)[0][4:] for seq in (1, 0)] == [(2, 1), (MOST_SEGMENTS + 2, 0)]
