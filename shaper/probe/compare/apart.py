"""Work in a process of its own, which may enter a namespace that this process must stay out of."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from shaper.errors import ShaperError

T = TypeVar("T")


def apart(work: Callable[[], T]) -> T:
    """Run `work` in a child of this process and return its result. This process must have no other threads.

    Raises:
        ShaperError: the work raised it, or its process died.
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
