"""Verdicts as messages to the kernel, as few as can be.

A message can accept one packet, or all that the queue holds up to one: packets that go on
in the order in which they came, as those of most policies do, need one message together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from shaper.core.verdict import Verdict
from shaper.live.nfqueue import netlink

BYTES_AT_ONCE = 64 * 1024
"""Of rewritten packets in one write; the socket's send buffer limits a write to some 200 kB."""
MESSAGES_AT_ONCE = 256


class VerdictBatches:
    """Builds the answers about the packets of one queue, and knows which of them are still to come.

    Args:
        queue: its number.
    """

    def __init__(self, queue: int) -> None:
        self._accept, self._drop, self._accept_up_to = netlink.verdict_heads(queue)
        self._queue = queue
        # What was taken and not answered, oldest first, and what of it was answered before its turn.
        self._outstanding: deque[int] = deque()
        self._early: set[int] = set()

    def __len__(self) -> int:
        """Ids remembered."""
        return len(self._outstanding) + len(self._early)

    def expect(self, ids: Sequence[int]) -> None:
        """These packets were taken, in this order."""
        self._outstanding.extend(ids)
        if len(self._outstanding) > 2 * netlink.MAX_LENGTH:
            # One that waits long keeps the many that came after it and have gone; the kernel holds no more than half.
            self._outstanding = deque(id for id in self._outstanding if id not in self._early)
            self._early.clear()

    def messages(self, verdicts: Sequence[Verdict]) -> list[bytes]:
        """What to write, write by write, for these verdicts, in their order; none may be injected."""
        outstanding, early, pack_id = self._outstanding, self._early, netlink.pack_id
        writes: list[bytes] = []
        parts: list[bytes] = []
        rewritten = 0
        last: int | None = None  # of some that are accepted together
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
        while early and outstanding and outstanding[0] in early:
            early.discard(outstanding.popleft())
        if parts:
            writes.append(b"".join(parts))
        return writes
