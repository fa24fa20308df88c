"""Script: a policy written as a story, with one coroutine per object, driven by the core.

    class Spread(Script):
        gap: Duration = 20 * ms

        async def story(self, flow):
            async for packet in flow:
                flow.send(packet)
                await flow.sleep(self.gap)

There is no event loop below it: packets and time from the core resume the coroutine, so a
script runs live and in virtual time. Packets that arrive while it sleeps wait for it, in
order. A packet that it received and did not mention goes on when it asks for the next one
or ends. After its end all packets go on at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from types import coroutine
from typing import Self

from shaper.policy.action import Action, Drop, Hold, Send, Wake
from shaper.policy.base import Answer, Policy
from shaper.wire.packet import Packet


class Stream:
    """The packets of one object, as its story sees them.

    Attributes:
        now: the time, in ns.
        actions: its answer so far, for the core.
        waiting: packets that it has not received yet, in order of arrival.
        wants_packet: whether the story waits for a packet.
        until: when its pause ends without one, in ns; None while it isn't timed.
    """

    def __init__(self) -> None:
        self.now = 0
        self.actions: list[Action] = []
        self.waiting: deque[Packet] = deque()
        self.wants_packet = False
        self.until: int | None = None
        self._given: Packet | None = None

    def send(self, packet: Packet, at: int | None = None) -> None:
        """The packet goes on, now or at a time (ns); sending it again sends a duplicate."""
        self._settle(packet)
        self.actions.append(Send(packet, at))

    def drop(self, packet: Packet) -> None:
        """The packet goes no further."""
        self._settle(packet)
        self.actions.append(Drop(packet))

    def hold(self, packet: Packet) -> None:
        """Keep the packet beyond the next `receive`; the story must `send` or `drop` it later."""
        self._settle(packet)

    async def sleep(self, duration: int) -> None:
        """Pause the story for this many ns."""
        await self._pause(wants_packet=False, until=self.now + duration)

    async def receive(self, timeout: int | None = None) -> Packet | None:
        """The next packet; None if none arrives within `timeout` ns."""
        if self._given is not None:
            self.send(self._given)
        if not self.waiting:
            await self._pause(wants_packet=True, until=None if timeout is None else self.now + timeout)
        if not self.waiting:
            return None
        self._given = self.waiting.popleft()
        return self._given

    # Not an async generator: trio would take it for one of its own and finalize it.
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Packet:
        packet = await self.receive()
        assert packet is not None
        return packet

    def finish(self) -> None:
        """The story has ended: the packet that it received last and those that wait go on."""
        for packet in [self._given, *self.waiting]:
            if packet is not None:
                self.send(packet)
        self.waiting.clear()

    def _settle(self, packet: Packet) -> None:
        if self._given is not None and packet.root is self._given.root:
            self._given = None

    @coroutine
    def _pause(self, *, wants_packet: bool, until: int | None) -> Generator[None, None, None]:
        self.wants_packet, self.until = wants_packet, until
        if until is not None:
            self.actions.append(Wake(until))
        yield
        self.wants_packet, self.until = False, None


class Script(Policy):
    """A policy written as a coroutine, `story`, instead of hooks."""

    def start(self) -> None:
        self._stream = Stream()
        self._story = self.story(self._stream).__await__()
        self._runs = True
        self._has_begun = False

    async def story(self, flow: Stream) -> None:
        """What happens to the packets of one object; runs from its first packet on."""
        raise NotImplementedError(f"{type(self).__name__} has no story: write `async def story(self, flow)`")

    def on_packet(self, packet: Packet, now: int) -> Answer:
        stream = self._stream
        if not self._has_begun:
            self._has_begun = True
            self._resume(now)
        if not self._runs:
            return None
        stream.waiting.append(packet)
        if stream.wants_packet:
            self._resume(now)
        return self._answer(packet)

    def on_wake(self, now: int) -> Answer:
        # The wake is stale if a packet came before the timeout.
        if self._runs and self._stream.until is not None and now >= self._stream.until:
            self._resume(now)
        return self._answer(None)

    def _resume(self, now: int) -> None:
        self._stream.now = now
        try:
            next(self._story)
        except StopIteration:
            self._runs = False
            self._stream.finish()

    def _answer(self, current: Packet | None) -> list[Action]:
        """The story's actions so far; a current packet that they don't mention waits for it."""
        actions, self._stream.actions = self._stream.actions, []
        if current is None:
            return actions
        about_packets = (action for action in actions if not isinstance(action, Wake))
        if all(action.packet.root is not current.root for action in about_packets):
            actions.insert(0, Hold(current))
        return actions
