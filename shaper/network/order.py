"""What a network is made of, and what is asked of it while it is there."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shaper.errors import ShaperError, UsageError
from shaper.spec.scenario import Scenario


@dataclass(frozen=True)
class Order:
    """A network that is to be made.

    Attributes:
        policies: the SPECs of the pipeline.
        scenario: the pipelines that follow one another, if there are several.
        seed: decides all chance.
        mtu: of lo, in bytes.
        pcap: the path of a capture of all packets.
        watch: look which calls wait inside.
        folder: against which the names of policy files count.
        path: Python's sys.path, for policies from modules.
    """

    policies: tuple[str, ...] = ()
    scenario: Scenario | None = None
    seed: str = "0"
    mtu: int = 1500
    pcap: str | None = None
    watch: bool = False
    folder: str = "."
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """Something that is asked of a network; the answer is a value, or a ShaperError."""

    what: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def plain(error: Exception) -> ShaperError:
    """The error, as one that another process can be sent."""
    found = (UsageError if isinstance(error, UsageError) else ShaperError)(str(error) or repr(error))
    if not isinstance(error, ShaperError):
        found.details = "".join(traceback.format_exception(error))
    return found
