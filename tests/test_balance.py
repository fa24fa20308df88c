"""The kernel's hash that spreads packets over queues, the simulation of many CPUs, and the workers chosen by it."""

import random
from ipaddress import IPv4Address, IPv6Address

import pytest

from bench.balance import HANDED_OVER, LOCK, Costs, Load, Locked, simulate, spread
from bench.queue_hash import hashed, queue_of, words
from shaper.live.front.balance import workers_for

SECRET, QUEUES = 1108457193, 13
SEEN = (
    ("127.122.29.81", "127.113.84.91", 254, 0),
    ("127.70.143.246", "127.133.148.10", 253, 2),
    ("127.22.254.187", "127.173.192.219", 253, 4),
    ("127.79.101.213", "127.25.72.142", 253, 6),
    ("127.122.29.81", "127.113.84.91", 253, 8),
    ("127.113.234.206", "127.23.117.52", 254, 12),
    ("fd00:c9e4:edc:6d2b:c470:f0e7:f76f:bfb9", "fd00:2975:d86d:bf11:2880:5c5d:ad1b:8f61", 253, 0),
    ("fd00:2746:403d:1f83:a859:890c:d670:f669", "fd00:753c:32f:6ca:b0d9:c2aa:8f83:7ef8", 253, 3),
    ("fd00:d663:155e:18b1:fa83:ada4:a212:1ac6", "fd00:3c5:fca0:5536:2169:df82:b9bd:ee2e", 253, 4),
    ("fd00:9ae:6d31:6b4a:7f6b:8793:b318:ad4d", "fd00:afe6:bc18:a40b:55c7:ed9d:4d49:85dd", 253, 6),
    ("fd00:ebe2:98c7:5205:1e01:a934:402d:bb0", "fd00:361:2cc0:f859:aa65:24ab:713b:7e06", 253, 8),
    ("fd00:ac64:49b2:5ded:9c31:d9b2:5a2b:745c", "fd00:e456:f268:6baa:971c:702d:5bf4:9c05", 253, 12),
)
"""Packets in Linux 6.18, x86-64, the queues that they got, and the secret that explains them."""


@pytest.mark.parametrize(("source", "destination", "protocol", "queue"), SEEN)
def test_the_hash_is_the_kernel_s(source: str, destination: str, protocol: int, queue: int) -> None:
    for ends in ((source, destination), (destination, source)):
        assert queue_of(words(*ends, protocol, order="little"), SECRET, QUEUES) == queue


def test_what_the_hash_looks_at() -> None:
    assert words("192.0.2.1", "192.0.2.9", 6) != words("192.0.2.1", "192.0.2.9", 17)
    assert words("2001:db8::1", "2001:db8::9", 6) == words("2001:db8::1", "2001:db8::9", 17)
    # Only the second and the last of the four words of an address count, and of the second the smaller one.
    assert words("2001:db8::1", "2001:db8::9", 6) == words("2a00:db8:0:0:7::1", "2a02:db8:1::9", 6)


@pytest.mark.parametrize("address", [IPv4Address, IPv6Address])
def test_it_spreads_pairs_evenly(address: type[IPv4Address | IPv6Address]) -> None:
    first = int(address("10.0.0.0" if address is IPv4Address else "fd00::"))
    pairs = [words(str(address(first)), str(address(first + 1 + number)), 6) for number in range(4096)]
    queues = [0] * 8
    for each in pairs:
        queues[queue_of(each, 1, 8)] += 1
    # Six standard deviations of a binomial distribution.
    assert max(abs(count - 512) for count in queues) < 128


def test_locks_that_nobody_else_wants_are_only_held() -> None:
    for spent in simulate(Costs(3, 5), [0], [0], rate=0.0001):
        assert spent == pytest.approx(LOCK + HANDED_OVER, rel=0.001)
    assert simulate(Costs(3, 5, lock=0, handed_over=0), [0], [0], rate=0.1) == (0, 0)


def test_a_lock_that_is_always_held_makes_others_wait() -> None:
    chance = random.Random(0)
    cpus, queues = spread([chance.getrandbits(32) for _ in range(64)], 16, 1)
    assert (set(queues), len(set(cpus))) == ({0}, 15)
    busy = simulate(Costs(3, 0.1, lock=1, handed_over=0), cpus, queues, rate=0.45)
    assert busy.traffic > 2 > 1 < busy.engine


def test_the_busiest_queue_or_cpu_ends_it() -> None:
    costs, locked = Costs(traffic=3, engine=4), Locked(1, 1)
    assert Load(queue=0.5, cpu=0.5).most(costs, locked) == pytest.approx(2 / 5)
    assert Load(queue=0.25, cpu=0.5).most(costs, locked) == pytest.approx(2 / 4)


def test_hashes_of_all_secrets_differ() -> None:
    assert len({hashed((1, 2, 3), secret) for secret in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("cpus", "workers"), [(1, 1), (2, 1), (3, 2), (4, 2), (6, 4), (8, 5), (16, 10), (64, 42), (96, 64), (512, 64)]
)
def test_workers_for_cpus(cpus: int, workers: int) -> None:
    assert workers_for(cpus) == workers
