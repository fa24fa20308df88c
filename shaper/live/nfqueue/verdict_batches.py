"""Verdicts as messages to the kernel, as few as possible.

A message can accept one packet, or all that the queue holds up to one. So packets that go on in the order in which
they came, as with most policies, need one message together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from shaper.core.verdict import Verdict
from shaper.live.nfqueue import netlink

BYTES_AT_ONCE = 64 * 1024
"""Bytes of rewritten packets in one write; the socket's send buffer limits a write to some 200 kB."""
MESSAGES_AT_ONCE = 256
"""Messages in one write."""


class VerdictBatches:
    """Builds the messages for one queue, and remembers which packets have no verdict yet.

    Args:
        queue: its number.
    """

    def __init__(self, queue: int) -> None:
        self._accept, self._drop, self._accept_up_to = netlink.verdict_heads(queue)
        self._queue = queue
        # Packets taken and not answered, oldest first; and those of them that were answered before their turn.
        self._outstanding: deque[int] = deque()
        self._early: set[int] = set()

    def __len__(self) -> int:
        """How many ids are remembered."""
        return len(self._outstanding) + len(self._early)

    def expect(self, ids: Sequence[int]) -> None:
        """These packets were taken, in this order."""
        self._outstanding.extend(ids)
        if len(self._outstanding) > 2 * netlink.MAX_LENGTH:
            # Behind one that waits long are many that have gone; no more than half are still in the kernel.
            self._outstanding = deque(id for id in self._outstanding if id not in self._early)
            self._early.clear()

    def accept_up_to(self, id: int) -> bytes:
        """What to write to accept all packets up to this one, while none of those taken before has no verdict."""
        return self._accept_up_to + netlink.pack_id(id)

    def accept(self, runs: Sequence[Sequence[int]]) -> list[bytes]:
        """What to write to accept packets, one item per write, in their order; given by their numbers, run by run."""
        outstanding, early, pack_id = self._outstanding, self._early, netlink.pack_id
        writes: list[bytes] = []
        messages: list[bytes] = []
        last: int | None = None  # the last of some that are accepted together
        for run in runs:
            for id in run:
                if outstanding and outstanding[0] == id:
                    outstanding.popleft()
                    last = id
                    continue
                early.add(id)
                if last is not None:
                    messages += self._accept_up_to, pack_id(last)
                    last = None
                messages += self._accept, pack_id(id)
            if len(messages) >= 2 * MESSAGES_AT_ONCE:
                writes.append(b"".join(messages))
                messages.clear()
        if last is not None:
            messages += self._accept_up_to, pack_id(last)
        self._forget_early()
        if messages:
            writes.append(b"".join(messages))
        return writes

    def _forget_early(self) -> None:
        """Forget packets whose turn it would be, but that were answered before."""
        outstanding, early = self._outstanding, self._early
        while early and outstanding and outstanding[0] in early:
            early.discard(outstanding.popleft())

    def messages(self, verdicts: Sequence[Verdict]) -> list[bytes]:
        """What to write for these verdicts, one item per write, in their order; none may be of an injected packet."""
        outstanding, early, pack_id = self._outstanding, self._early, netlink.pack_id
        writes: list[bytes] = []
        parts: list[bytes] = []
        rewritten = 0
        last: int | None = None  # the last of some that are accepted together
        for verdict in verdicts:
            packet, fate = verdict.packet, verdict.fate
            id = packet.id
            is_accepted = fate != "dropped" and (packet.origin is None or packet.raw is packet.origin.raw)
            if outstanding and outstanding[0] == id:
                outstanding.popleft()
                if is_accepted:
                    last = id
                    continue
            else:
                early.add(id)
            if last is not None:
                parts += self._accept_up_to, pack_id(last)
                last = None
            if is_accepted:
                parts += self._accept, pack_id(id)
            elif fate == "dropped":
                parts += self._drop, pack_id(id)
            else:
                parts.append(netlink.rewrite(self._queue, id, packet.raw))
                rewritten += len(packet.raw)
            if rewritten >= BYTES_AT_ONCE or len(parts) >= 2 * MESSAGES_AT_ONCE:
                writes.append(b"".join(parts))
                parts.clear()
                rewritten = 0
        if last is not None:
            parts += self._accept_up_to, pack_id(last)
        self._forget_early()
        if parts:
            writes.append(b"".join(parts))
        return writes
