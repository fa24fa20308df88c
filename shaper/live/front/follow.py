"""Where a place is now, and when it has gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import trio

from shaper.errors import ShaperError, UsageError
from shaper.linux.netns import Namespace
from shaper.live.rules.rules import Match
from shaper.places.cgroup import path_of, served
from shaper.places.place import Found, Place
from shaper.verbose import detail

WATCH_INTERVAL = 0.1
"""Seconds between two looks whether a place is still the same; a look is a system call or two."""
SOON, LATER, SOON_FOR = 0.2, 1.0, 10.0
"""Seconds between two looks whether a place is there, at first and later, and when later begins: a look may cost the
start of a program."""


class Spot(NamedTuple):
    """A place that was found.

    Attributes:
        found: what it is now.
        namespace: its network namespace, open.
        match: which packets there are shaped.
    """

    found: Found
    namespace: Namespace
    match: Match


def look_for(place: Place, match: Match) -> Spot | None:
    """Where the place is now; None if it isn't running.

    Args:
        place: what to look for.
        match: which packets are to be shaped.

    Raises:
        UsageError: there is nothing of this name, or nothing there can match.
        ShaperError: this user may not enter it.
    """
    found = place.find()
    if found is None:
        return None
    namespace = Namespace(found.netns)
    try:
        return Spot(found, namespace, namespace.call(_here, match, found.cgroup))
    except ShaperError:
        namespace.close()
        raise


def _here(match: Match, cgroup: Path | None) -> Match:
    """The match in this network namespace, checked."""
    if cgroup is not None:
        path = path_of(cgroup)
        match = replace(match, cgroup=path, served=served(path))
    match.check()
    return match


async def until_there(place: Place, match: Match, waits: Callable[[str], None], *, is_known: bool) -> Spot:
    """Where the place is, as soon as it is there.

    Args:
        place, match: see `look_for`.
        waits: called with the reason, each time when there is another one; empty if it just isn't running.
        is_known: it was there before, so it may come back if there is nothing of its name now.

    Raises:
        UsageError: see `look_for`, at the first look.
        ShaperError: this user may not enter it.
    """
    began, reason = trio.current_time(), None
    while True:
        why = ""
        try:
            spot = await trio.to_thread.run_sync(look_for, place, match, abandon_on_cancel=True)
            if spot is not None:
                detail(f"{place.name} is in the network namespace {spot.found.netns}")
                return spot
        except UsageError as error:
            if not is_known:
                raise
            why = str(error)
        is_known = True
        if why != reason:
            reason = why
            waits(why)
        await trio.sleep(SOON if trio.current_time() - began < SOON_FOR else LATER)


async def until_gone(found: Found) -> None:
    """Wait until it is something else, or nothing."""
    while found.is_there():
        await trio.sleep(WATCH_INTERVAL)
