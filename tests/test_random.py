"""Chance: the same fates for the same seed and the same connections, whatever ports their clients got."""

from collections.abc import Iterable

from shaper import Answer, Drop, Packet, Policy
from shaper.core.core import Core
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.wire.header import ACK, SYN


class Coin(Policy):
    """Drops about half of all packets."""

    def on_packet(self, packet: Packet, now: int) -> Answer:
        return Drop(packet) if self.random.random() < 0.5 else None


def conversation(port: int, server: str = "192.0.2.9", service: int = 80) -> list[bytes]:
    """A SYN, its answer, and 30 segments either way: enough for two coins to be told apart."""
    there = Ends("192.0.2.1", port, server, service)
    opening = [(PacketSpec("tcp", 0, SYN, port), there), (PacketSpec("tcp", 0, SYN | ACK, 500, 101), there.reverse)]
    data = [(PacketSpec("tcp", 10, ACK, 101, 501), end) for _ in range(30) for end in (there, there.reverse)]
    return [bytes_of(look, ends, number) for number, (look, ends) in enumerate(opening + data, 1)]


def fates(raws: Iterable[bytes], *, seed: int | str = 0, pipeline: tuple[Policy, ...] = (Coin(),)) -> list[str]:
    core, verdicts = Core(pipeline, seed=seed), []
    for number, raw in enumerate(raws, 1):
        core.receive(Packet(raw, number, number), number)
        verdicts += core.due(number)
    return [verdict.fate for verdict in verdicts]


FIRST, SECOND = conversation(40000), conversation(50000)


def test_the_seed_decides() -> None:
    assert fates(FIRST, seed=7) == fates(FIRST, seed=7)
    assert fates(FIRST, seed=7) != fates(FIRST, seed=8)
    assert fates(FIRST, seed="seven") == fates(FIRST, seed="seven")


def test_the_clients_port_makes_no_difference() -> None:
    assert fates(FIRST) == fates(SECOND)


def test_the_second_connection_of_these_is_another() -> None:
    both = fates(FIRST + SECOND)
    assert both == fates(SECOND + FIRST)
    assert both[: len(FIRST)] != both[len(FIRST) :]


def test_other_ends_or_services_are_others() -> None:
    each = [fates(FIRST), fates(conversation(40000, service=81)), fates(conversation(40000, server="192.0.2.8"))]
    assert len({tuple(one) for one in each}) == 3
    assert fates(conversation(40000, service=81) + FIRST)[len(FIRST) :] == fates(FIRST)


def test_the_two_directions_are_apart_and_one_alone_is_the_same() -> None:
    there, back = fates(FIRST)[2::2], fates(FIRST)[3::2]
    assert there != back
    assert fates(FIRST[:1] + FIRST[2::2])[1:] == there


def test_each_stage_has_its_own_chance() -> None:
    twice = fates(FIRST, pipeline=(Coin(), Coin()))
    assert twice != fates(FIRST)
    assert twice.count("dropped") > fates(FIRST).count("dropped")


def test_objects_of_a_wider_scope_have_one_chance_for_all() -> None:
    for scope in ("connection", "queue"):
        one = (Coin(scope=scope),)
        assert fates(FIRST, pipeline=one) == fates(SECOND, pipeline=one)
        assert fates(FIRST, pipeline=one) != fates(FIRST)
