"""The probes of the Chaos Toolkit extension. `name` and `secrets` are as for the actions."""

from typing import Any

from shaper.chaos.access import Secrets, client, status_of
from shaper.control.listen import running
from shaper.errors import ShaperError

__all__ = ["bypassed", "counts", "held", "is_running", "lateness_p99", "taken"]

COUNTS = ("taken", "sent", "held", "dropped", "injected", "bypassed")


def is_running(name: str) -> bool:
    """Whether a shaper of this name is running on this machine."""
    return name in running()


def counts(name: str | None = None, secrets: Secrets | None = None) -> dict[str, Any]:
    """How many packets were taken, sent on, dropped, made by policies and bypassed, and how many are held now."""
    status = status_of(client(name, secrets))
    return {count: status[count] for count in COUNTS}


def taken(name: str | None = None, secrets: Secrets | None = None) -> int:
    """How many packets were taken: 0 means that the experiment has shaped nothing."""
    return int(counts(name, secrets)["taken"])


def held(name: str | None = None, secrets: Secrets | None = None) -> int:
    """How many packets are held now."""
    return int(counts(name, secrets)["held"])


def bypassed(name: str | None = None, secrets: Secrets | None = None) -> int:
    """How many packets passed unshaped, though they were to be shaped.

    Raises:
        ShaperError: it isn't known, as the rules are not shaper's own.
    """
    count = counts(name, secrets)["bypassed"]
    if count is None:
        raise ShaperError("how many packets were bypassed is not known with --no-rules")
    return int(count)


def lateness_p99(name: str | None = None, secrets: Secrets | None = None) -> float:
    """How late packets went on, in ms: 99 of 100 were no later; 0 if none has gone on yet."""
    late = status_of(client(name, secrets))["late_us"]
    return 0.0 if late is None else float(late["p99"]) / 1000
