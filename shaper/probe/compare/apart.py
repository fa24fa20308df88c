"""Work done in a process of its own, which may enter a namespace that this one must stay out of."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from shaper.errors import ShaperError

T = TypeVar("T")


def apart(work: Callable[[], T]) -> T:
    """What `work` returns in a child of this process, which must have no other threads.

    Raises:
        ShaperError: as the work raised it, or because its process died.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(work, there))
    child.start()
    there.close()
    try:
        result: T | ShaperError = here.recv()
    except EOFError:
        raise ShaperError("the process of a run died") from None
    finally:
        here.close()
        child.join()
    if isinstance(result, ShaperError):
        raise result
    return result


def _send(work: Callable[[], object], there: Connection) -> None:
    try:
        there.send(work())
    except ShaperError as error:
        there.send(error)
    except KeyboardInterrupt:
        there.close()  # the parent has been interrupted as well
