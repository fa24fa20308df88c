"""What the kernel lost is counted once, whatever had not yet been taken when it was counted."""

from hypothesis import given
from hypothesis import strategies as st

from shaper.live.nfqueue.losses import Losses


class World:
    """A kernel and a core, of which the kernel loses packets."""

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
        """In any order; here those that the kernel has go first."""
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


def test_packets_that_were_not_taken_yet_hide_no_loss_and_make_none() -> None:
    world = World()
    world.come(10)
    world.look(0)
    world.lose(10)
    world.look(0)
    assert world.losses.count == 10
    world.come(5)
    world.look(0)  # the kernel has five that the core doesn't know, and so lacks five only
    world.look(0)
    assert world.losses.count == 10


def test_what_was_lost_and_left_the_core_is_not_missing_any_more() -> None:
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
def test_never_more_than_were_lost_are_counted(steps: list[tuple[str, int]]) -> None:
    world = World()
    for name, count in steps:
        getattr(world, name)(count)
    assert world.losses.count <= world.all_lost


@given(st.lists(step))
def test_all_are_counted_when_nothing_comes_meanwhile_and_losses_are_looked_for_in_time(
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
