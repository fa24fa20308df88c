"""Which tasks wait for their turn: those of this round of trio's, too."""

import trio

from shaper.live.pending import Pending


def test_tasks_of_the_present_round_count_until_they_have_run() -> None:
    pending = Pending()
    seen: list[tuple[int, int]] = []

    async def task() -> None:
        seen.append((len(pending), trio.lowlevel.current_statistics().tasks_runnable))

    async def main() -> None:
        with pending.watching():
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(task)
                assert len(pending) == 3
                await trio.lowlevel.checkpoint()
            assert len(pending) == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            assert len(pending) == 0

    trio.run(main)
    # The first of the three sees the two that are to run behind it, while the next round has none but `main`.
    pending_first, runnable_first = seen[0]
    assert pending_first in (2, 3)
    assert runnable_first <= 1
