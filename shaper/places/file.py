"""Several places in one TOML file, each with what it is shaped by.

    seed = 7

    [web]
    container = "web"
    policy = ["delay:20ms,jitter=5ms", "loss:1%"]

    [db]
    unit = "postgresql"
    port = 5432
    profile = "lte"

    [shop]
    pod = "app=shop"
    policy = "delay:20ms"

Each table is one `shaper start`, whose `--name` is the table's; with `pod`, one for each pod of this node that has
these labels. The keys are named like its options; what is before the first table holds for all. Texts and numbers may
stand for lists of one.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, NamedTuple, get_args

from shaper.errors import UsageError
from shaper.places.pods import Pods, labels_of
from shaper.spec.load import expand, load
from shaper.spec.match import Protocol, parse_hooks, parse_interfaces, parse_ports
from shaper.spec.profiles import find
from shaper.spec.toml import TomlReader
from shaper.units import parse_duration

PLACES = ("container", "netns", "pid", "cgroup", "unit", "pod")
"""The keys that say where; at most one of them is given."""
LISTS = ("policy", "interface", "hook", "port")
TEXTS = (
    "protocol",
    "source",
    "destination",
    "host",
    "filter",
    "profile",
    "seed",
    "duration",
    "max-hold",
    "watchdog",
    "on-error",
    "on-rules-lost",
    "fail",
    "timing",
    "cpu",
    "journal",
    "pcap",
    "pcap-arrived",
    "pcap-sent",
    "listen",
    "token-file",
)
NUMBERS = ("pid", "queue", "workers")
FLAGS = ("yes", "allow-bypass", "gso", "connmark", "realtime", "no-rules")
OF_PODS = ("pod", "namespace")
"""The keys that are no options: of which pods, one `shaper start` for each."""
OF_ONE = ("listen", "journal", "pcap", "pcap-arrived", "pcap-sent")
"""What several can't share."""
KNOWN = (*PLACES, "namespace", *LISTS, *TEXTS, *(key for key in NUMBERS if key not in PLACES), *FLAGS)
KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(NUMBERS, ((int,), "a whole number")),
    **dict.fromkeys(("port", "seed", "cpu"), ((int, str), "a number or a text")),
    "workers": ((int, str), 'a whole number or "auto"'),
}
"""What values may be, where they aren't texts."""
COMMON = ("seed", "duration", "max-hold", "watchdog", "on-error", "on-rules-lost", "timing")
"""What may be said for all."""


class Shaped(NamedTuple):
    """One table of the file.

    Attributes:
        name: the table's.
        options: as `shaper start` takes them.
        pods: those that are shaped so, each by itself; None if the options say where.
    """

    name: str
    options: list[str]
    pods: Pods | None = None


def read(file: str) -> list[Shaped]:
    """The tables of a file, in order.

    Raises:
        UsageError: something in it is wrong; the message names the file, the line and the key.
        OSError: it can't be read.
    """
    return PlacesReader.of_file(file).places()


def _address(text: str) -> None:
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise UsageError(f"'{text}' is not an IP address or network, such as 10.0.0.0/8 or ::1") from None


def _protocol(text: str) -> None:
    if text not in get_args(Protocol):
        raise UsageError(f"'{text}' is none of {', '.join(get_args(Protocol))}")


def _workers(text: str) -> None:
    if text != "auto" and not text.isdecimal():
        raise UsageError(f"'{text}' is neither a number nor auto")


CHECKS: dict[str, Callable[[str], object]] = {
    "policy": lambda spec: [load(one) for one in expand([spec])],
    "profile": find,
    "interface": parse_interfaces,
    "hook": parse_hooks,
    "port": parse_ports,
    "protocol": _protocol,
    "pod": labels_of,
    "workers": _workers,
    **dict.fromkeys(("source", "destination", "host"), _address),
    **dict.fromkeys(("duration", "max-hold", "watchdog"), parse_duration),
}
"""What reads the value of a key; all else is checked by `shaper start` itself."""


class PlacesReader(TomlReader):
    """Reads such a file."""

    kind = "the part before the first table"

    def places(self) -> list[Shaped]:
        """See `read`."""
        tables = {name: table for name, table in self.content.items() if isinstance(table, dict)}
        common = {key: value for key, value in self.content.items() if key not in tables}
        self._check_keys(common, COMMON)
        if not tables:
            raise self.error(f"{self.file}:1: there is no table, such as [web]")
        return [self._shaped(name, table, common) for name, table in tables.items()]

    def _shaped(self, name: str, table: dict[str, Any], common: dict[str, Any]) -> Shaped:
        options = self._options(name, table, common)
        if "pod" not in table:
            if "namespace" in table:
                self._fail("namespace", "namespace is that of pods; give pod, too", name)
            return Shaped(name, options)
        if shared := [key for key in OF_ONE if key in table]:
            self._fail(shared[0], f"{shared[0]} is for one; there may be several pods", name)
        return Shaped(name, options[2:], Pods(table["pod"], table.get("namespace")))

    def _options(self, name: str, table: dict[str, Any], common: dict[str, Any]) -> list[str]:
        self._check_keys(table, KNOWN, name)
        if len(where := [key for key in PLACES if key in table]) > 1:
            self._fail(where[1], f"{' and '.join(where)} name several places; give one", name)
        if "policy" not in table and "profile" not in table:
            self._fail("", f"[{name}] has no policy and no profile", name)
        options = ["--name", name]
        for key, value in {**common, **table}.items():
            section = name if key in table else ""
            if key in FLAGS:
                if not isinstance(value, bool):
                    self._fail(key, f"{key} is true or false", section)
                options += [f"--{key}"] if value else ["--no-gso"] if key == "gso" else []
            else:
                texts = self._texts(key, value, section)
                options += [f"--{key}={text}" for text in texts if key not in OF_PODS]
        return options

    def _texts(self, key: str, value: object, section: str) -> list[str]:
        """The values of a key, as they are written on a command line."""
        values = value if isinstance(value, list) and key in LISTS else [value]
        kinds, what = KINDS.get(key, ((str,), "a text, in quotes"))
        if not values or not all(type(each) in kinds for each in values):
            self._fail(key, f"{key} is {what}{', or a list of these' if key in LISTS else ''}", section)
        texts = [str(each) for each in values]
        for text in texts:
            try:
                CHECKS.get(key, str)(text)
            except (UsageError, ValueError) as error:
                self._fail(key, f"{key}: {error}", section)
        return texts
