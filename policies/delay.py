"""delay: every packet is held for a time."""

from collections.abc import Collection
from typing import Annotated, Literal

from shaper import (
    UNIFORM,
    Chance,
    Count,
    Duration,
    Link,
    Packet,
    Policy,
    Rate,
    Send,
    Shape,
    Share,
    Size,
    Unit,
    ms,
    parse_duration,
    read_file,
)

CORRELATIONS = {"correlation", "reorder_correlation"}

Steps = tuple[tuple[int, int], ...]


def read_steps(path: str) -> Steps:
    """Delays over time from a file: each line has a time since the first packet, and the delay from then on.

    Raises:
        ValueError: the file can't be read, a line is not TIME DELAY, such as "1.5s 80ms", or the times
            are out of order.
    """
    steps = []
    for number, line in enumerate(read_file(path).splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2:
            raise ValueError(f"{path}:{number} is not TIME DELAY, such as 1.5s 80ms")
        steps.append((parse_duration(words[0]), parse_duration(words[1])))
    if not steps or steps != sorted(steps):
        raise ValueError(f"{path} must have lines TIME DELAY, in order of time")
    return tuple(steps)


def format_steps(steps: Steps) -> str:
    """What a file of delays holds, in short: "3 steps"."""
    return f"{len(steps)} steps" if steps else "none"


Trace = Annotated[Steps, Unit("file of delays", read_steps, format_steps)]


class Delay(Policy):
    """Every packet is held for `time`, give or take `jitter`.

    As netem's `delay`, with one difference: packets of a flow keep their order, however
    large the jitter is, unless you ask for `order=free`. A packet whose own delay is over
    then waits for those before it. netem's reordering is here, too: a share of the packets
    (`reorder`) isn't delayed, and overtakes those that are. With `rate`, the delay ends at a
    link, as in the policy `rate`, which the reordered packets also skip.

    # delay time=100ms
    +0     < a
    +.030  < b
    +.070  > a              100 ms after it came
    +.030  > b              the gap between them is kept
    """

    needs = "headers"
    shorthand = "time"

    time: Duration = 100 * ms
    """How long packets are held, on average."""
    jitter: Duration = 0
    """How far delays spread: at most, for the uniform distribution; for others it is the standard deviation."""
    distribution: Shape = UNIFORM
    """How delays are distributed; a FILE.dist is a table in iproute2's format."""
    correlation: Share = 0.0
    """How much each delay depends on the one before."""
    order: Literal["keep", "free"] = "keep"
    """Whether a packet may overtake one with a longer delay."""
    reorder: Share = 0.0
    """The share of packets that are sent at once, ahead of delayed ones."""
    reorder_correlation: Share = 0.0
    """How much each such choice depends on the one before."""
    reorder_gap: Count = 1
    """Between two packets that are sent at once, at least `reorder_gap` - 1 are delayed."""
    rate: Rate = 0
    """The rate of a link on which packets go after their delay, in order; 0: no link."""
    overhead: int = 0
    """With `rate`: bytes added to the length of each packet, such as 14 for the Ethernet header; may be negative."""
    cell: Size = 0
    """With `rate`: the payload of the cells into which packets are cut; 0: no cells."""
    cell_overhead: int = 0
    """With `rate`: bytes added to the payload of each cell."""
    times: Trace = ()
    """A file of delays over time, used instead of `time`: lines such as `1.5s 80ms`."""

    # What a constant delay never needs, so that none of its many flows has it.
    _last = 0
    _begin: int | None = None
    _delayed = 0
    _has_chance = False
    _link: Link | None = None

    def start(self) -> None:
        self.on_change(())

    def on_change(self, changed: Collection[str]) -> None:
        """Other `times` count from the next packet."""
        if self.rate or self._link is not None:
            self._link = Link(self.rate, self.overhead, self.cell, self.cell_overhead) if self.rate else None
        self._is_constant = not (self.jitter or self.reorder or self.times or self.rate)
        if "times" in changed:
            self._begin = None
        if self._is_constant or (self._has_chance and not CORRELATIONS & set(changed)):
            return
        self._has_chance = True
        self._delays = Chance(self.random, self.correlation)
        self._choices = Chance(self.random, self.reorder_correlation)

    @property
    def takes_uncut(self) -> bool:
        return not (self.jitter or self.reorder or self.rate)

    @property
    def constant_hold(self) -> int | None:
        return self.time if self._is_constant else None

    def on_packet(self, packet: Packet, now: int) -> Send | None:
        if self._is_constant:
            return Send(packet, now + self.time)
        # Counts packets delayed since the last one that wasn't: netem_enqueue() in the kernel's net/sched/sch_netem.c.
        if self._delayed >= self.reorder_gap - 1 and self._choices.happens(self.reorder):
            self._delayed = 0
            return None
        self._delayed += 1
        at = now + self.distribution.draw(self._time(now), self.jitter, self._delays)
        if self._link is not None:
            # As netem: the packet goes on the link when its delay is over and the one before has been sent.
            at = self._last = max(at, self._last) + self._link.time_for(packet.length)
        elif self.order == "keep":
            at = self._last = max(at, self._last)
        return Send(packet, at)

    def _time(self, now: int) -> int:
        """The mean delay at this time."""
        if self._begin is None:
            self._begin = now
        time = self.time
        for since, delay in self.times:
            if now - self._begin < since:
                break
            time = delay
        return time
