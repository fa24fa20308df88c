"""A function that is called inside a network, in a process that is forked for it."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TypeVar

from shaper.errors import ShaperError

R = TypeVar("R")


def call_inside(enter: Callable[[], None], function: Callable[[], R]) -> R:
    """What the function returns, which is pickled.

    Args:
        enter: moves the new process inside.

    Raises:
        Exception: what the function raises.
        ShaperError: its process died.
    """
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(enter, theirs, function))
    process.start()
    theirs.close()
    with ours:
        try:
            is_fine, value = ours.recv()
        except EOFError:
            process.join()
            raise ShaperError(f"the process of the call died, with status {process.exitcode}") from None
        except BaseException:
            process.kill()
            raise
        finally:
            process.join()
    if not is_fine:
        raise value
    result: R = value
    return result


def _call(enter: Callable[[], None], answer: Connection, function: Callable[[], object]) -> None:
    """The process of a call."""
    result: tuple[bool, object]
    try:
        enter()
        result = True, function()
    except Exception as error:
        result = False, error
    try:
        answer.send(result)
    except Exception as error:  # what it is can't be pickled
        answer.send((False, ShaperError(f"the result of the call can't be passed on: {error}")))
