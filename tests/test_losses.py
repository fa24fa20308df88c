"""Packets that the kernel lost are counted once, whatever was not yet taken at that time."""

from hypothesis import given
from hypothesis import strategies as st

from shaper.live.nfqueue.losses import Losses


class World:
    """A kernel that loses packets, and a core."""

    def __init__(self) -> None:
        self.losses = Losses()
        self.waiting = 0  # not taken yet
        self.held = 0  # by both
        self.lost = 0  # still held by the core
        self.all_lost = 0

    def come(self, count: int) -> None:
        self.waiting += count

    def take(self, count: int) -> None:
        count = min(count, self.waiting)
        self.waiting -= count
        self.held += count

    def lose(self, count: int) -> None:
        count = min(count, self.held)
        self.held -= count
        self.lost += count
        self.all_lost += count

    def go_on(self, count: int) -> None:
        """In any order; here those that the kernel still has go first."""
        count = min(count, self.held + self.lost)
        here = min(count, self.held)
        self.held -= here
        self.lost -= count - here

    def look(self, came_meanwhile: int) -> None:
        known, waiting = self.held + self.lost, self.held + self.waiting
        is_missing = self.losses.see(known, waiting)
        self.come(came_meanwhile)
        taken = self.waiting
        self.take(taken)
        if is_missing:
            self.losses.settle(known, waiting, taken)


def test_packets_not_yet_taken_neither_hide_losses_nor_look_like_some() -> None:
    world = World()
    world.come(10)
    world.look(0)
    world.lose(10)
    world.look(0)
    assert world.losses.count == 10
    world.come(5)
    world.look(0)  # the kernel has five that the core doesn't know, so only five seem to be missing
    world.look(0)
    assert world.losses.count == 10


def test_lost_packets_that_left_the_core_are_no_longer_missing() -> None:
    world = World()
    for _ in range(3):
        world.come(10)
        world.look(0)
        world.lose(10)
        world.look(0)
        world.go_on(10)
        world.look(0)
    assert world.losses.count == 30


step = st.tuples(st.sampled_from(["come", "take", "lose", "go_on", "look"]), st.integers(0, 20))


@given(st.lists(step))
def test_no_more_are_counted_than_were_lost(steps: list[tuple[str, int]]) -> None:
    world = World()
    for name, count in steps:
        getattr(world, name)(count)
    assert world.losses.count <= world.all_lost


@given(st.lists(step))
def test_all_are_counted_if_nothing_comes_meanwhile_and_the_counts_are_compared_in_time(
    steps: list[tuple[str, int]],
) -> None:
    world = World()
    for name, count in steps:
        if name in ("lose", "go_on"):
            world.look(0)
        if name != "look":
            getattr(world, name)(count)
        if name == "lose":
            world.look(0)
    assert world.losses.count == world.all_lost
